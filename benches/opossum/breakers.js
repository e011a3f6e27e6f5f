// The npm package opossum doing the work of benches/layers/src/breakers.rs: 50 % of at least 20 calls in 10 s open the breaker, for 30 s.
//
// A breaker as most have it, with a time limit, and one with as little to do as it can have: with percentiles, each failure sorts the times of all calls in the window.
//
// Prints what that program prints: a line a round and measurement, `<group>\t<name>\tns\t<number>`. Memory is the collector's matter here, so no
// allocations are counted.

import CircuitBreaker from 'opossum';

const BATCH = 500;
const BATCHES = 5;
// What runs before anything counts is compiled by then.
const WARM = 4;
const MANY = 200;

const settings = { errorThresholdPercentage: 50, resetTimeout: 30_000, rollingCountTimeout: 10_000, volumeThreshold: 20 };
const failed = new Error('failed');

async function callee(fails) {
  if (fails) throw failed;
  return 7;
}

const works = {
  succeeds: () => false,
  '10 % fail': (n) => n % 10 === 0,
  open: () => false,
};

/** Calls so many times, one after the other, and throws if an outcome is not what it must be. */
async function batch(work, call) {
  const fails = works[work];
  for (let n = 0; n < BATCH; n++) {
    let ok = true;
    try {
      await call(fails(n));
    } catch {
      ok = false;
    }
    if (ok !== (work !== 'open' && !fails(n))) throw new Error(`${work}, call ${n}: ${ok}`);
  }
}

async function bare(work) {
  const fails = works[work];
  for (let n = 0; n < BATCH; n++) {
    try {
      await callee(fails(n));
    } catch {
      // What fails is to fail.
    }
  }
}

/** A breaker, opened if that is the work. */
async function breaker(work, more) {
  const made = new CircuitBreaker(callee, { ...settings, ...more });
  if (work === 'open') {
    for (let n = 0; n < MANY; n++) {
      await made.fire(true).catch(() => {});
    }
    if (!made.opened) throw new Error('the breaker did not open');
  }
  return made;
}

async function group(work, rounds) {
  const timed = await breaker(work, { timeout: 3_000 });
  const plain = await breaker(work, { timeout: false, rollingPercentilesEnabled: false });
  const members = [
    ['bare call in node', () => bare(work)],
    ['opossum, time limit of 3 s', () => batch(work, (fails) => timed.fire(fails))],
    ['opossum, no time limit, no percentiles', () => batch(work, (fails) => plain.fire(fails))],
  ];
  for (let round = 1 - WARM; round <= rounds; round++) {
    const least = members.map(() => Infinity);
    for (let turn = 0; turn < BATCHES; turn++) {
      for (const [place, [, run]] of members.entries()) {
        const began = process.hrtime.bigint();
        await run();
        least[place] = Math.min(least[place], Number(process.hrtime.bigint() - began) / BATCH);
      }
    }
    if (round < 1) continue;
    for (const [place, [name]] of members.entries()) {
      console.log(`${work}\t${name}\tns\t${least[place].toFixed(2)}`);
    }
  }
  for (const made of [timed, plain]) made.shutdown();
}

const rounds = Number(process.argv[2]);
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error('usage: node breakers.js ROUNDS');
  process.exit(1);
}
for (const work of Object.keys(works)) {
  await group(work, rounds);
}

//! What an operator does to a server, and what befalls one: restarts, backends that end, statements by hand.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use super::{Database, Postgres, run, text_of};

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends its sessions and writes everything down.
    Fast,
    /// As in a crash: what is on the disk stays as it is, and the next start recovers from the log.
    Immediate,
}

impl Stop {
    fn mode(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

impl Postgres {
    /// Starts the server again after it was stopped, or ended by itself.
    ///
    /// # Errors
    /// If it does not start, with what it said.
    pub fn start_again(&self) -> io::Result<()> {
        let mut start = self.control("pg_ctl");
        start.args(["-w", "-l"]).arg(self.dir.join("log")).args(["-o", &self.options, "start"]);
        start.envs(self.env.iter().map(|(name, value)| (name, value)));
        run(&mut start).map(drop).map_err(|error| io::Error::other(format!("{error}\n{}", self.log())))
    }

    /// Stops the server and returns when it is gone.
    ///
    /// # Errors
    /// If it does not stop, or did not run.
    pub fn stop(&self, how: Stop) -> io::Result<()> {
        run(self.control("pg_ctl").args(["-w", "-m", how.mode(), "stop"])).map(drop)
    }

    /// Stops the server and starts it again.
    ///
    /// # Errors
    /// If it does not stop or start.
    pub fn restart(&self, how: Stop) -> io::Result<()> {
        self.stop(how)?;
        self.start_again()
    }

    /// Whether the server runs, be it that it takes no connections.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.control("pg_ctl").arg("status").output().is_ok_and(|output| output.status.success())
    }

    /// What the server has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        text_of(&self.dir.join("log"))
    }

    /// Runs statements as the server's owner, past every wall, and gives the rows as text: a line a row, `|` between columns.
    ///
    /// # Errors
    /// If the server refuses one, or does not answer.
    pub fn query(&self, database: &Database, sql: &str) -> io::Result<Vec<String>> {
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database.name(), "-c", sql]);
        Ok(run(&mut psql)?.lines().map(str::to_owned).collect())
    }

    /// The process ids of the connections to a database, but for those of its owner.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn backends(&self, database: &Database) -> io::Result<Vec<u32>> {
        let sql = "select pid from pg_stat_activity where datname = current_database() and usename <> 'postgres' \
                   and pid <> pg_backend_pid() order by pid";
        let rows = self.query(database, sql)?;
        rows.iter()
            .map(|pid| pid.parse().map_err(|_| io::Error::other(format!("{pid:?} is no process"))))
            .collect()
    }

    /// Has the server end a connection; says whether it was there.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn terminate(&self, database: &Database, backend: u32) -> io::Result<bool> {
        let said = self.query(database, &format!("select pg_terminate_backend({backend})"))?;
        Ok(said == ["t"])
    }

    /// Runs statements in a session that stays as they leave it, in the middle of a transaction perhaps, until the [`Held`] is dropped.
    ///
    /// # Errors
    /// If the server refuses one, or does not answer.
    pub fn hold(&self, database: &Database, sql: &str) -> io::Result<Held> {
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database.name()]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = (child.stdin.as_mut(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("no pipes to psql"));
        };
        writeln!(stdin, "{sql};\n\\echo held")?;
        let held = Held(child);
        let mut said = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if line == "held" {
                return Ok(held);
            }
            said.push_str(&line);
        }
        Err(io::Error::other(format!("the session ended: {said}")))
    }
}

/// A session of [`Postgres::hold`]; it ends when dropped, and with it its transaction.
#[derive(Debug)]
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It may be gone already.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, ServerSetup};

    #[test]
    fn a_server_is_restarted_and_its_backends_end() {
        let disk = Disk::new().unwrap();
        let setup = ServerSetup::durable().settings("-c wal_recycle=off").init("--wal-segsize=1").on(&disk);
        let server = Postgres::start_with(&setup).unwrap();
        let database = server.database().unwrap();
        server.query(&database, "create role test0 login; create table t (n int)").unwrap();
        for how in [Stop::Fast, Stop::Immediate] {
            let before = server.pid().unwrap();
            server.query(&database, "insert into t values (1)").unwrap();
            server.restart(how).unwrap();
            assert!(server.is_running() && server.pid().unwrap() != before);
        }
        assert_eq!(server.query(&database, "select count(*), 'x' from t").unwrap(), ["2|x"]);
        let held = server.hold(&database, "begin; lock table t").unwrap();
        let locks = "select count(*) from pg_locks where mode = 'AccessExclusiveLock'";
        assert_eq!(server.query(&database, locks).unwrap(), ["1"]);
        drop(held);
        assert!(server.hold(&database, "this is no statement").is_err());
        assert!(server.backends(&database).unwrap().is_empty());
        assert!(!server.terminate(&database, 1).unwrap_or(false));
        disk.fill("/base/").unwrap();
        let full = server.query(&database, "create table u as select generate_series(1, 10000)").unwrap_err();
        assert!(full.to_string().contains("No space left on device"), "{full}");
        disk.heal().unwrap();
        server.query(&database, "create table u as select generate_series(1, 10000)").unwrap();
        server.stop(Stop::Fast).unwrap();
        assert!(!server.is_running());
    }
}

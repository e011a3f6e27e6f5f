//! The trie of path segments that finds the route of a request.
//!
//! The most specific route wins: a custom verb before none, then from left to right a literal before `*` before `**`. Only
//! routes that answer the request's method take part, so that `POST /v1/items/special` does not hide `GET /v1/items/{id}`.
//! Each node is seen at most once a search, so a search costs no more than the trie is large, whatever the path.

use drystone_contract::{HttpVerb, Part, PathTemplate};
use http::Method;

use crate::percent::{Decode, decode};

/// Routes by path and method; a route is a number.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Box<str>, Node)>,
    any: Option<Box<Node>>,
    /// Templates that end here.
    ends: Vec<Leaf>,
    /// Templates that end here with `**`.
    rests: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<Box<str>>,
    methods: Vec<(Method, usize)>,
    /// The route for every other method (`custom: { kind: "*" }`).
    any_method: Option<usize>,
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'p> {
    /// A route, and the path without the custom verb.
    Route(usize, &'p str),
    /// Only routes for other methods.
    OtherMethods(Vec<Method>),
    /// Nothing.
    Nothing,
}

impl Routes {
    /// Adds a route.
    ///
    /// # Errors
    /// The route that has this method and shape of path already.
    pub(crate) fn insert(
        &mut self,
        verb: &HttpVerb,
        template: &PathTemplate,
        route: usize,
    ) -> Result<(), usize> {
        let mut node = &mut self.root;
        let mut is_rest = false;
        for part in template.parts() {
            match part {
                Part::Literal(text) => node = node.literal(text),
                Part::Any => node = node.any.get_or_insert_default(),
                Part::Rest => is_rest = true,
            }
        }
        let leaves = if is_rest { &mut node.rests } else { &mut node.ends };
        let leaf = match leaves.iter().position(|leaf| leaf.verb.as_deref() == template.verb()) {
            Some(index) => &mut leaves[index],
            None => {
                let verb = template.verb().map(Box::from);
                leaves.push(Leaf { verb, methods: Vec::new(), any_method: None });
                leaves.last_mut().expect("a leaf was just pushed")
            }
        };
        leaf.insert(verb, route)
    }

    /// The route for a method and a path, which begins with a slash.
    pub(crate) fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'p> {
        let candidates = candidates(path);
        for (path, verb) in candidates.into_iter().flatten() {
            let found = walk(&self.root, segments(path), &mut |leaves| pick(leaves, verb)?.route(method));
            if let Some(route) = found {
                return Found::Route(route, path);
            }
        }
        let mut others = Vec::new();
        for (path, verb) in candidates.into_iter().flatten() {
            walk(&self.root, segments(path), &mut |leaves| {
                others.extend(pick(leaves, verb).map(Leaf::methods).into_iter().flatten());
                None::<()>
            });
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }
}

/// The readings of a path: with its custom verb apart, then without one.
fn candidates(path: &str) -> [Option<(&str, Option<&str>)>; 2] {
    let last = path.rfind('/').unwrap_or(0);
    let with_verb =
        path[last..].rfind(':').map(|colon| (&path[..last + colon], Some(&path[last + colon + 1..])));
    [with_verb, Some((path, None))]
}

/// What comes after the leading slash; `None` where no segment is left.
fn segments(path: &str) -> Option<&str> {
    path.strip_prefix('/')
}

fn pick<'n>(leaves: &'n [Leaf], verb: Option<&str>) -> Option<&'n Leaf> {
    leaves.iter().find(|leaf| leaf.verb.as_deref() == verb)
}

/// Shows `see` the leaves that match, the most specific first, until it returns something.
fn walk<'n, T>(
    node: &'n Node,
    rest: Option<&str>,
    see: &mut impl FnMut(&'n [Leaf]) -> Option<T>,
) -> Option<T> {
    let Some(rest) = rest else { return see(&node.ends).or_else(|| see(&node.rests)) };
    let (segment, after) = match rest.split_once('/') {
        Some((segment, after)) => (segment, Some(after)),
        None => (rest, None),
    };
    node.child(segment)
        .and_then(|child| walk(child, after, see))
        .or_else(|| {
            node.any.as_deref().filter(|_| !segment.is_empty()).and_then(|child| walk(child, after, see))
        })
        .or_else(|| see(&node.rests))
}

impl Node {
    fn literal(&mut self, text: &str) -> &mut Node {
        let index =
            self.literals.binary_search_by(|(known, _)| (**known).cmp(text)).unwrap_or_else(|index| {
                self.literals.insert(index, (text.into(), Node::default()));
                index
            });
        &mut self.literals[index].1
    }

    fn child(&self, segment: &str) -> Option<&Node> {
        if self.literals.is_empty() {
            return None;
        }
        let segment = decode(segment, Decode::Segment)?;
        let index = self.literals.binary_search_by(|(known, _)| (**known).cmp(&*segment)).ok()?;
        Some(&self.literals[index].1)
    }
}

impl Leaf {
    fn insert(&mut self, verb: &HttpVerb, route: usize) -> Result<(), usize> {
        if verb.as_str() == "*" {
            return self.any_method.map_or_else(
                || {
                    self.any_method = Some(route);
                    Ok(())
                },
                Err,
            );
        }
        // A verb that is no HTTP method was refused with its binding, and could never arrive.
        let Ok(method) = Method::from_bytes(verb.as_str().as_bytes()) else { return Ok(()) };
        if let Some((_, taken)) = self.methods.iter().find(|(known, _)| *known == method) {
            return Err(*taken);
        }
        self.methods.push((method, route));
        Ok(())
    }

    fn route(&self, method: &Method) -> Option<usize> {
        let exact =
            |wanted: &Method| self.methods.iter().find(|(known, _)| known == wanted).map(|(_, route)| *route);
        exact(method)
            .or(self.any_method)
            .or_else(|| if method == Method::HEAD { exact(&Method::GET) } else { None })
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.iter().map(|(method, _)| method.clone()).collect()
    }
}

/// The header `Allow` of a path that answers these methods.
pub(crate) fn allow(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(templates: &[(&str, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (number, (verb, template)) in templates.iter().enumerate() {
            routes.insert(&verb_of(verb), &PathTemplate::parse(template).unwrap(), number).unwrap();
        }
        routes
    }

    fn verb_of(text: &str) -> HttpVerb {
        match text {
            "GET" => HttpVerb::Get,
            "POST" => HttpVerb::Post,
            other => HttpVerb::Custom(other.to_owned()),
        }
    }

    #[test]
    fn any_method_is_the_last_resort() {
        let routes = routes(&[("*", "/a"), ("GET", "/a")]);
        assert_eq!(routes.find(&Method::GET, "/a"), Found::Route(1, "/a"));
        assert_eq!(routes.find(&Method::PATCH, "/a"), Found::Route(0, "/a"));
    }

    #[test]
    fn a_taken_route_names_its_owner() {
        let mut routes = routes(&[("GET", "/a/{x}"), ("*", "/b")]);
        assert_eq!(routes.insert(&HttpVerb::Get, &PathTemplate::parse("/a/*").unwrap(), 7), Err(0));
        assert_eq!(routes.insert(&verb_of("*"), &PathTemplate::parse("/b").unwrap(), 7), Err(1));
    }

    /// What a template is worth against a path: `None` if it does not match, else its rank, the smaller the better.
    fn rank(template: &PathTemplate, path: &str) -> Option<(bool, Vec<u8>)> {
        let mut stem = path;
        if let Some(verb) = template.verb() {
            let (before, after) = path.rsplit_once(':')?;
            if after != verb {
                return None;
            }
            stem = before;
        }
        let segments: Vec<&str> = stem.split('/').skip(1).collect();
        let mut ranks = Vec::new();
        let mut index = 0;
        for part in template.parts() {
            match part {
                Part::Literal(text) if segments.get(index) == Some(&text.as_str()) => ranks.push(0),
                Part::Any if segments.get(index).is_some_and(|segment| !segment.is_empty()) => ranks.push(1),
                Part::Rest => {
                    ranks.push(2);
                    return Some((template.verb().is_none(), ranks));
                }
                _ => return None,
            }
            index += 1;
        }
        (index == segments.len()).then_some((template.verb().is_none(), ranks))
    }

    fn template() -> impl Strategy<Value = String> {
        let part = prop_oneof![3 => "[ab]", 2 => Just("*".to_owned()), 1 => Just("{v}".to_owned())];
        let rest = prop_oneof![2 => Just(""), 1 => Just("/**")];
        let verb = prop_oneof![2 => Just(""), 1 => Just(":a"), 1 => Just(":b")];
        (prop::collection::vec(part, 1..4), rest, verb).prop_map(|(parts, rest, verb)| {
            let mut seen = false;
            let only_one = |part: String| {
                if part == "{v}" && std::mem::replace(&mut seen, true) { "*".to_owned() } else { part }
            };
            let parts: Vec<_> = parts.into_iter().map(only_one).collect();
            format!("/{}{rest}{verb}", parts.join("/"))
        })
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_trying_every_template(
            templates in prop::collection::vec((prop_oneof![Just("GET"), Just("POST")], template()), 1..12),
            path in "(/[abc]?(:[ab])?){1,4}",
            post in any::<bool>(),
        ) {
            let mut routes = Routes::default();
            let mut kept = Vec::new();
            for (verb, text) in templates {
                let template = PathTemplate::parse(&text).unwrap();
                if routes.insert(&verb_of(verb), &template, kept.len()).is_ok() {
                    kept.push((verb, template));
                }
            }
            let method = if post { Method::POST } else { Method::GET };
            let matching = || kept.iter().enumerate().filter_map(|(number, (verb, template))| {
                rank(template, &path).map(|rank| (rank, number, *verb))
            });
            let best = matching().filter(|(_, _, verb)| *verb == method.as_str()).min();
            match (routes.find(&method, &path), best) {
                (Found::Route(found, _), Some((_, expected, _))) => prop_assert_eq!(found, expected),
                (Found::OtherMethods(_), None) => prop_assert!(matching().next().is_some()),
                (Found::Nothing, None) => prop_assert!(matching().next().is_none()),
                (found, best) => prop_assert!(false, "found {:?}, expected {:?}", found, best),
            }
        }
    }
}

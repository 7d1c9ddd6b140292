//! Routes of the simulated servers, as tables.

use connector::http::Method;

use crate::simulators::network::path_segments;

/// A method with a path whose parameters are in braces, such as `GET /orders/{id}`, and what answers there.
pub(crate) type Route<E> = (&'static str, E);

/// The parameters of a path, in their order; empty where a route has fewer.
pub(crate) type PathParameters<'p> = [&'p str; 2];

/// The first route that fits, with the parameters of the path. No parameter is decoded, and empty segments do not count.
pub(crate) fn find_route<'p, E: Copy>(routes: &[Route<E>], method: &Method, path: &'p str) -> Option<(E, PathParameters<'p>)> {
    routes.iter().find_map(|(route, endpoint)| {
        let pattern = route.strip_prefix(method.as_str())?.strip_prefix(' ')?;
        Some((*endpoint, match_path(pattern, path)?))
    })
}

fn match_path<'p>(pattern: &str, path: &'p str) -> Option<PathParameters<'p>> {
    let mut parameters = PathParameters::default();
    let mut free = parameters.iter_mut();
    let (mut expected, mut given) = (path_segments(pattern), path_segments(path));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(expected), Some(given)) if expected.starts_with('{') => *free.next()? = given,
            (Some(expected), Some(given)) if expected == given => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use connector::http::Method;

    use super::find_route;

    const ROUTES: [(&str, u8); 4] =
        [("GET /orders", 1), ("GET /orders/search", 2), ("GET /orders/{id}", 3), ("POST /orders/{id}/{step}", 4)];

    #[test]
    fn a_route_is_found_by_method_and_path() {
        assert_eq!(find_route(&ROUTES, &Method::GET, "/orders"), Some((1, ["", ""])));
        assert_eq!(find_route(&ROUTES, &Method::GET, "/orders/7"), Some((3, ["7", ""])));
        assert_eq!(find_route(&ROUTES, &Method::POST, "/orders/7/capture"), Some((4, ["7", "capture"])));
    }

    #[test]
    fn the_first_route_that_fits_answers() {
        assert_eq!(find_route(&ROUTES, &Method::GET, "/orders/search"), Some((2, ["", ""])));
    }

    #[test]
    fn another_method_another_length_and_another_name_are_not_found() {
        for (method, path) in [(Method::PUT, "/orders"), (Method::GET, "/orders/7/capture"), (Method::GET, "/"), (Method::GET, "/order")] {
            assert_eq!(find_route(&ROUTES, &method, path), None, "{method} {path}");
        }
    }
}

//! What a service manager tells a service: taken over when it has the shape that systemd gives it.

/// Longest path of a Unix socket.
const MAX_SOCKET_PATH: usize = 107;

/// Returns whether the name is one by which a service reports to its manager.
pub(super) fn is_for_reports(name: &str) -> bool {
    matches!(name, "NOTIFY_SOCKET" | "WATCHDOG_PID" | "WATCHDOG_USEC")
}

/// Returns whether the name is one that a service manager gives.
pub(super) fn is_given(name: &str) -> bool {
    is_for_reports(name) || matches!(name, "INVOCATION_ID" | "JOURNAL_STREAM")
}

/// Judges the value of a name that a service manager gives.
pub(super) fn check_shape(name: &str, value: &str) -> Result<(), &'static str> {
    let is_number =
        |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let fits = match name {
        // An abstract socket (`@…`) has no owner that could be looked at.
        "NOTIFY_SOCKET" => {
            value.len() <= MAX_SOCKET_PATH && crate::path::AbsolutePath::parse(value).is_ok()
        }
        "INVOCATION_ID" => value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()),
        "JOURNAL_STREAM" => {
            value.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b))
        }
        _ => is_number(value),
    };
    if fits { Ok(()) } else { Err("the value is not what a service manager gives") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shapes_of_systemd_fit() {
        for (name, good, bad) in [
            ("NOTIFY_SOCKET", "/run/systemd/notify", "@/org/systemd"),
            ("NOTIFY_SOCKET", "/run/user/1/n", "/run/../x"),
            ("WATCHDOG_USEC", "2000000", "2s"),
            ("WATCHDOG_PID", "77", "-1"),
            ("INVOCATION_ID", "0123456789abcdef0123456789abcdef", "0123456789abcdef"),
            ("JOURNAL_STREAM", "8:123456", "8"),
        ] {
            assert_eq!(check_shape(name, good), Ok(()), "{name}={good}");
            assert!(check_shape(name, bad).is_err(), "{name}={bad}");
        }
    }
}

//! Environment variables that Kubernetes and Docker set for services, which look like a program's own.

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable is one that Kubernetes sets in every pod for a Service, or Docker for a link, whose name begins with
/// `prefix` (`BROKERD_`): `BROKERD_SERVICE_HOST`, `BROKERD_HEADLESS_PORT_9480_TCP_ADDR`, `BROKERD_PORT=tcp://..`. No one
/// chose them, so a program ignores them where it refuses other variables that it does not know.
///
/// `BROKERD_PORT` with a plain number is none of them: a person wrote it and expects something of it.
pub fn is_service_variable(prefix: &str, name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else { return false };
    // Docker copies the environment of a linked container, whatever its names are.
    if rest.starts_with("ENV_") || (rest == "NAME" && value.starts_with('/')) {
        return true;
    }
    // A Service "brokerd" has nothing between its name and these words, "brokerd-headless" has "HEADLESS_".
    let words: Vec<&str> = rest.split('_').collect();
    (0..words.len()).any(|at| words.get(at..).is_some_and(|tail| is_tail(tail, value)))
}

fn is_tail(words: &[&str], value: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match words {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] => true,
        ["PORT"] => value.contains("://"),
        ["PORT", port, protocol] | ["PORT", port, protocol, "PROTO" | "PORT" | "ADDR" | "START" | "END"] => {
            is_number(port) && PROTOCOLS.contains(protocol)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_and_docker_set_is_known_and_what_people_mistype_is_not() {
        for (name, value) in [
            ("BROKERD_SERVICE_HOST", "10.43.7.1"),
            ("BROKERD_SERVICE_PORT", "9480"),
            ("BROKERD_SERVICE_PORT_GRPC", "9480"),
            ("BROKERD_SERVICE_PORT_GRPC_WEB", "9480"),
            ("BROKERD_PORT", "tcp://10.43.7.1:9480"),
            ("BROKERD_PORT_9480_TCP", "tcp://10.43.7.1:9480"),
            ("BROKERD_PORT_9480_TCP_PROTO", "tcp"),
            ("BROKERD_PORT_9480_TCP_PORT", "9480"),
            ("BROKERD_PORT_9480_TCP_ADDR", "10.43.7.1"),
            ("BROKERD_HEADLESS_SERVICE_HOST", "None"),
            ("BROKERD_0_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("BROKERD_NAME", "/web/brokerd"),
            ("BROKERD_ENV_BROKERD_NODE__ID", "7"),
        ] {
            assert!(is_service_variable("BROKERD_", name, value), "{name}");
        }
        for (name, value) in [
            ("BROKERD_PORT", "9480"),
            ("BROKERD_LISTEN__GRCP", "127.0.0.1:1"),
            ("BROKERD_NODE_ID", "1"),
            ("BROKERD_NAME", "b1"),
            ("BROKERD_PORT_X_TCP", "1"),
            ("BROKERD_PORT_1_FTP", "1"),
            ("BROKERD_", ""),
            ("OTHER_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert!(!is_service_variable("BROKERD_", name, value), "{name}");
        }
    }
}

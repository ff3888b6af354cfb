//! The table of environment names that do something to a program, each with the reason.
//!
//! A child gets a variable only because it is allowed by name; this table says which names cannot
//! even be allowed. Patterns are exact names, prefixes or suffixes, so that a person can read the
//! table and be sure.

/// How a name may reach a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameClass {
    /// In no way: it loads code, moves connections or carries production's secrets.
    Never,
    /// Only with a value written in the configuration, never inherited.
    SetOnly,
    /// By exact name in `[env] inherit`; it looks like a secret.
    OptIn,
}

/// What kind of program the name acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The dynamic loader and the C library.
    Loader,
    /// Shells.
    Shell,
    /// Node, Bun and Deno.
    Node,
    /// Python.
    Python,
    /// Perl, Ruby, PHP, Lua, R and Tcl.
    Scripting,
    /// The Java, .NET and Erlang virtual machines, Go and Haskell.
    Runtime,
    /// Compilers and build tools.
    Build,
    /// git and other programs that run programs.
    ExecHook,
    /// PostgreSQL clients.
    Postgres,
    /// Other addresses of databases.
    Address,
    /// TLS and Kerberos libraries.
    Tls,
    /// Credentials of clouds, registries and CI.
    Credential,
    /// Sockets and agents of the login session.
    Session,
    /// Proxies and telemetry.
    Network,
    /// Switches between production and other modes.
    Mode,
}

impl std::fmt::Display for Group {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Loader => "the loader and the C library",
            Self::Shell => "shells",
            Self::Node => "Node, Bun, Deno",
            Self::Python => "Python",
            Self::Scripting => "Perl, Ruby, PHP, Lua, R, Tcl, awk",
            Self::Runtime => "Java, .NET, Erlang, Go, Haskell",
            Self::Build => "compilers and build tools",
            Self::ExecHook => "git and programs that run programs",
            Self::Postgres => "PostgreSQL",
            Self::Address => "other database addresses",
            Self::Tls => "TLS and Kerberos",
            Self::Credential => "credentials",
            Self::Session => "the login session",
            Self::Network => "network, telemetry, plug-ins",
            Self::Mode => "mode and port",
        })
    }
}

/// One row: the pattern, the class, and why.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// How the name may reach a child.
    pub class: NameClass,
    /// What the name acts on.
    pub group: Group,
    /// Why it is listed, as a fragment.
    pub reason: &'static str,
    exact: &'static [&'static str],
    prefixes: &'static [&'static str],
    suffixes: &'static [&'static str],
}

impl Rule {
    /// Returns the patterns as a person writes them: `NAME`, `PREFIX*`, `*SUFFIX`.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let exact = self.exact.iter().map(|name| (*name).to_owned());
        let prefixes = self.prefixes.iter().map(|prefix| format!("{prefix}*"));
        let suffixes = self.suffixes.iter().map(|suffix| format!("*{suffix}"));
        exact.chain(prefixes).chain(suffixes).collect()
    }

    fn matches(&self, name: &str) -> bool {
        let any_case = self.ignores_case();
        // Bytes, because a name may be cut within a character, and without a copy: every variable
        // of every child is compared with the whole table.
        let same = |part: Option<&[u8]>, pattern: &str| {
            part.is_some_and(|part| {
                part == pattern.as_bytes()
                    || any_case && part.eq_ignore_ascii_case(pattern.as_bytes())
            })
        };
        let name = name.as_bytes();
        let begins = |prefix: &&str| same(name.get(..prefix.len()), prefix);
        let ends = |suffix: &&str| {
            let start = name.len().checked_sub(suffix.len());
            same(start.and_then(|start| name.get(start..)), suffix)
        };
        self.exact.iter().any(|exact| same(Some(name), exact))
            || self.prefixes.iter().any(begins)
            || self.suffixes.iter().any(ends)
    }

    /// Whether some program asks for these names in any letter case, as npm and proxies are asked.
    fn ignores_case(&self) -> bool {
        matches!(self.group, Group::Postgres | Group::Address | Group::Node | Group::Network)
    }
}

/// Returns the whole table, in the order in which it is asked.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter()
}

/// Returns the first rule that names this variable; rules of the class `Never` come first.
#[must_use]
pub fn classify(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.matches(name))
}

const fn never(
    group: Group,
    reason: &'static str,
    exact: &'static [&'static str],
    prefixes: &'static [&'static str],
    suffixes: &'static [&'static str],
) -> Rule {
    Rule { class: NameClass::Never, group, reason, exact, prefixes, suffixes }
}

#[rustfmt::skip]
static RULES: &[Rule] = &[
    never(Group::Postgres, "moves a database connection, its role or its settings",
        &["NODE_PG_FORCE_NATIVE", "PSQLRC", "PSQL_PAGER", "PSQL_EDITOR", "PSQL_HISTORY"], &["PG"], &[]),
    never(Group::Address, "is a second database address",
        &["DIRECT_URL", "DATABASE_URI", "DATABASE_DSN", "DB_URL", "DB_URI", "DB_DSN", "DB_HOST",
          "SQLALCHEMY_DATABASE_URI", "SPRING_DATASOURCE_URL", "LIBMYSQL_PLUGINS", "TNS_ADMIN",
          "ODBCINI", "ODBCSYSINI"],
        &["DATABASE_URL_", "POSTGRES_", "POSTGRESQL_", "JDBC_", "SPRING_DATASOURCE_", "MYSQL_"],
        &["_DATABASE_URL"]),
    never(Group::Mode, "drives the deployment of production",
        &[], &["DEPLOY_"], &[]),
    never(Group::Loader, "loads code into every program, or redirects name resolution",
        &["GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH", "MALLOC_TRACE", "MALLOC_CHECK_",
          "MALLOC_PERTURB_", "GETCONF_DIR", "RESOLV_HOST_CONF", "RES_OPTIONS", "HOSTALIASES",
          "LOCALDOMAIN", "TZDIR"],
        &["LD_", "_RLD", "DYLD_"], &[]),
    never(Group::Shell, "runs code in, or changes the meaning of, every shell script",
        &["BASH_ENV", "ENV", "PROMPT_COMMAND", "PS4", "SHELLOPTS", "BASHOPTS", "GLOBIGNORE", "CDPATH",
          "IFS", "FPATH", "ZDOTDIR", "NULLCMD", "READNULLCMD", "TMPPREFIX", "HISTFILE", "INPUTRC",
          "POSIXLY_CORRECT"],
        &["BASH_FUNC_"], &[]),
    never(Group::Node, "loads code into, or reconfigures, Node, Bun or Deno",
        &["NODE_OPTIONS", "NODE_PATH", "NODE_V8_COVERAGE", "NODE_REDIRECT_WARNINGS",
          "NODE_COMPILE_CACHE", "NODE_REPL_EXTERNAL_MODULE", "NODE_EXTRA_CA_CERTS",
          "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_ICU_DATA", "NODE_CHANNEL_FD"],
        &["npm_config_", "NPM_CONFIG_", "YARN_", "COREPACK_", "BUN_", "DENO_"], &[]),
    never(Group::Python, "loads code into, or reconfigures, Python",
        &["VIRTUAL_ENV", "GUNICORN_CMD_ARGS"],
        &["PYTHON", "PIP_", "UV_", "UVICORN_", "CELERY_"], &[]),
    never(Group::Scripting, "loads code into a script interpreter",
        &["PERLLIB", "PERLIO_DEBUG", "RUBYOPT", "RUBYLIB", "GEM_HOME", "GEM_PATH", "PHPRC",
          "PHP_INI_SCAN_DIR", "TCLLIBPATH", "AWKPATH", "AWKLIBPATH"],
        &["PERL5", "BUNDLE_", "LUA_", "R_PROFILE", "R_ENVIRON"], &[]),
    never(Group::Runtime, "loads an agent or code, or overrides configuration",
        &["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "JAVA_OPTS", "CLASSPATH",
          "MAVEN_OPTS", "GRADLE_OPTS", "GRADLE_USER_HOME", "SBT_OPTS", "ANT_OPTS",
          "SPRING_APPLICATION_JSON", "GODEBUG", "GOFLAGS", "GOENV", "GOPROXY", "GOTOOLCHAIN", "GHCRTS",
          "ELIXIR_ERL_OPTIONS"],
        &["SPRING_CONFIG_", "DOTNET_", "CORECLR_", "COMPlus_", "ERL_"], &[]),
    never(Group::Build, "runs code during a build",
        &["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CC", "CXX", "LD", "CFLAGS",
          "CXXFLAGS", "LDFLAGS", "LIBRARY_PATH", "CPATH", "MAKEFLAGS", "MAKEFILES", "PKG_CONFIG_PATH"],
        &["CARGO_", "RUSTUP_", "CMAKE_"], &[]),
    never(Group::ExecHook, "makes another program run a command",
        &["HGRCPATH", "SVN_SSH", "CVS_RSH", "RSYNC_RSH", "TAR_OPTIONS", "LESSOPEN", "LESSCLOSE", "PAGER",
          "MANPAGER", "EDITOR", "VISUAL", "BROWSER", "SSH_ASKPASS", "SUDO_ASKPASS", "SYSTEMD_PAGER",
          "SYSTEMD_EDITOR", "WGETRC", "CURL_HOME", "VIMINIT", "EXINIT"],
        &["GIT_"], &[]),
    never(Group::Tls, "loads code into TLS libraries, replaces trust or writes session keys",
        &["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
          "GNUPGHOME", "SASL_CONF_PATH", "LDAPCONF", "LDAPRC"],
        &["OPENSSL_", "KRB5"], &[]),
    never(Group::Credential, "is an identity or a credential of the production side",
        &["KUBECONFIG", "GITHUB_TOKEN", "GH_TOKEN", "NPM_TOKEN", "NODE_AUTH_TOKEN", "RAILS_MASTER_KEY",
          "SECRET_KEY_BASE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "DOTENV_KEY"],
        &["AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_", "ARM_", "VAULT_", "CONSUL_", "NOMAD_", "DOCKER_",
          "ACTIONS_", "CI_JOB_", "TWINE_", "DOTENV_PRIVATE_KEY", "DOTENV_CONFIG_", "STRIPE_", "TWILIO_",
          "ECS_CONTAINER_METADATA_URI", "GCE_METADATA_", "MSI_"], &[]),
    never(Group::Session, "reaches an agent, a bus or a socket of the login session",
        &["SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "XDG_RUNTIME_DIR", "XAUTHORITY", "DISPLAY",
          "WAYLAND_DISPLAY", "TMUX", "STY", "CREDENTIALS_DIRECTORY"],
        &["DBUS_", "XDG_CONFIG_", "XDG_DATA_", "LISTEN_"], &[]),
    never(Group::Network, "sends traffic or data elsewhere, or loads plug-ins",
        &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy",
          "no_proxy", "SENTRY_DSN", "TERMCAP", "GTK_MODULES", "ICU_DATA", "FONTCONFIG_FILE",
          "QT_PLUGIN_PATH"],
        &["OTEL_EXPORTER_", "DD_", "NEW_RELIC_", "TERMINFO", "GIO_", "GST_PLUGIN_", "VK_", "OCL_ICD_"],
        &[]),
    Rule {
        class: NameClass::SetOnly,
        group: Group::Mode,
        reason: "switches a framework's mode or port; the worker's value is not the preview's",
        exact: &["NODE_ENV", "RAILS_ENV", "RACK_ENV", "APP_ENV", "FLASK_ENV", "FLASK_APP", "MIX_ENV",
                 "PORT", "HOST", "HOSTNAME"],
        prefixes: &["DJANGO_", "ASPNETCORE_", "ROCKET_"],
        suffixes: &[],
    },
    Rule {
        class: NameClass::OptIn,
        group: Group::Credential,
        reason: "looks like a secret",
        exact: &["DB_PASSWORD"],
        prefixes: &[],
        suffixes: &["_TOKEN", "_SECRET", "_PASSWORD", "_PASSWD", "_API_KEY", "_SECRET_KEY",
                    "_PRIVATE_KEY", "_ACCESS_KEY", "_CREDENTIALS"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> Option<NameClass> {
        classify(name).map(|rule| rule.class)
    }

    #[test]
    fn dangerous_names_are_never_passed() {
        for name in [
            "LD_PRELOAD",
            "PGHOSTADDR",
            "BASH_FUNC_x%%",
            "NODE_OPTIONS",
            "PYTHONPATH",
            "PERL5OPT",
            "JAVA_TOOL_OPTIONS",
            "RUSTC_WRAPPER",
            "GIT_SSH_COMMAND",
            "OPENSSL_CONF",
            "AWS_PROFILE",
            "SSH_AUTH_SOCK",
            "https_proxy",
            "DEPLOY_BACKEND_RELOAD_CMD",
            "ADMIN_DATABASE_URL",
            "pghost",
            "Direct_Url",
            "Npm_Config_Registry",
            "Https_Proxy",
        ] {
            assert_eq!(class(name), Some(NameClass::Never), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not_in_the_table() {
        for name in [
            "FEATURE_FLAGS",
            "LANG",
            "LOG_LEVEL",
            "ENVIRONMENT_NAME",
            "PORTAL",
            "LDAP_URL",
            "env",
            "editor",
        ] {
            assert_eq!(class(name), None, "{name}");
        }
    }

    #[test]
    fn modes_and_secrets_have_their_own_class() {
        assert_eq!(class("NODE_ENV"), Some(NameClass::SetOnly));
        assert_eq!(class("PORT"), Some(NameClass::SetOnly));
        assert_eq!(class("SESSION_SECRET"), Some(NameClass::OptIn));
    }

    #[test]
    fn the_harder_class_comes_first() {
        let first_soft = RULES.iter().position(|rule| rule.class != NameClass::Never).unwrap();
        assert!(RULES[first_soft..].iter().all(|rule| rule.class != NameClass::Never));
    }
}

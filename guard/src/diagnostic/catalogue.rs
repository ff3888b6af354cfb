//! The table of every diagnostic code.
//!
//! A code, once published, keeps its meaning. `explain` and the documentation are made from this
//! table, so an entry is written for the person who meets the code at night.

use std::fmt;

/// What kind of failure a code stands for; each program maps it to one exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Worth knowing; nothing is refused.
    Notice,
    /// The command line is wrong, or it names an unknown slot.
    Usage,
    /// Input was read and is not acceptable as data.
    BadData,
    /// Something that had to be given or to exist is missing.
    InputMissing,
    /// A service, a kernel feature or a program is not there.
    Unavailable,
    /// A defect of this project.
    Internal,
    /// Somebody else holds what is needed; trying again may help.
    Busy,
    /// What a step leaves behind cannot be written.
    ArtifactNotWritable,
    /// The guard refused.
    Denied,
    /// The configuration is wrong.
    Configuration,
    /// A program exists but cannot be run.
    NotRunnable,
    /// A program does not exist.
    NotFound,
}

/// What the catalogue says about a code.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// One line, a fragment.
    pub summary: &'static str,
    /// When exactly the code is given.
    pub condition: &'static str,
    /// What would happen, or could, without the refusal.
    pub effect: &'static str,
    /// What to do.
    pub way_out: &'static str,
    /// An input that gets this code.
    pub bad: &'static str,
    /// The close neighbour that does not.
    pub good: &'static str,
}

macro_rules! catalogue {
    ($($name:ident $id:literal $class:ident {
        summary: $summary:literal,
        condition: $condition:literal,
        effect: $effect:literal,
        way_out: $way_out:literal,
        bad: $bad:literal,
        good: $good:literal $(,)?
    })*) => {
        /// A stable diagnostic code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!($id, ": ", $summary, ".")] $name,)*
        }

        impl Code {
            /// Every code, in ascending order of its identifier.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the identifier, such as `SG2101`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id),* }
            }

            /// Returns the kind of failure.
            #[must_use]
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class),* }
            }

            /// Returns the catalogue's texts.
            #[must_use]
            pub fn entry(self) -> Entry {
                match self {
                    $(Self::$name => Entry {
                        summary: $summary,
                        condition: $condition,
                        effect: $effect,
                        way_out: $way_out,
                        bad: $bad,
                        good: $good,
                    }),*
                }
            }
        }
    };
}

impl Code {
    /// Returns the code with this identifier, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.id())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

catalogue! {
    UnknownSlot "SG1001" Usage {
        summary: "not a preview slot",
        condition: "A slot was given in a spelling other than `preview-1` to `preview-9`.",
        effect: "A second spelling of one slot would get its own lock, unit and directory, and two publishes could meet in one database.",
        way_out: "Give the canonical id, such as `preview-1`.",
        bad: "--slot preview_1",
        good: "--slot preview-1",
    }
    AliasAsIdentity "SG1002" Usage {
        summary: "an alias is not an identity",
        condition: "The compatibility alias `preview<n>` was given where a slot is identified.",
        effect: "Aliases exist for DNS and service names only; as an identity they would be a second spelling.",
        way_out: "Give the canonical id, such as `preview-1`.",
        bad: "--slot preview1",
        good: "--slot preview-1",
    }
    SlotNotConfigured "SG1003" Usage {
        summary: "the slot does not exist on this host",
        condition: "The id is canonical, but neither the configuration nor `SLOT_IDS_CSV` lists it.",
        effect: "Nothing was provisioned for it: its database name could belong to anybody.",
        way_out: "Use a slot of this host, or add it to `[slots] ids` and provision it.",
        bad: "--slot preview-7 with the default three slots",
        good: "--slot preview-3",
    }
    SlotList "SG1004" Configuration {
        summary: "the list of slots cannot be read",
        condition: "`SLOT_IDS_CSV` or `[slots] ids` is empty, names a slot twice or holds something that is not a canonical id.",
        effect: "A slot that is not listed exactly could be missed by every check made per slot.",
        way_out: "Write canonical ids separated by single commas.",
        bad: "SLOT_IDS_CSV=preview-1, preview-2",
        good: "SLOT_IDS_CSV=preview-1,preview-2",
    }
    UrlBytes "SG2001" Denied {
        summary: "DATABASE_URL holds a byte that URLs do not have",
        condition: "A byte outside printable ASCII (0x21 to 0x7E): a blank, a tab, a line break, a byte order mark, a letter outside ASCII.",
        effect: "Some drivers delete such bytes, some keep them, some end the text there; they then connect to different databases.",
        way_out: "Retype the URL; escape such a character of the password as %XX.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1<newline>",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlLength "SG2002" Denied {
        summary: "DATABASE_URL is empty or too long",
        condition: "The text is empty or longer than 1024 bytes.",
        effect: "Drivers cut, refuse or accept long texts each in their own way; an empty one means the driver's own default server.",
        way_out: "Write the short canonical form.",
        bad: "DATABASE_URL=",
        good: "DATABASE_URL=postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlScheme "SG2003" Denied {
        summary: "DATABASE_URL does not begin with postgresql:// or postgres://",
        condition: "Another scheme, other letter case, a driver suffix such as `+psycopg`, or no URL at all.",
        effect: "psql takes a text that is no URL as a database name on its default server; some drivers ignore the scheme and connect.",
        way_out: "Begin with postgresql://.",
        bad: "postgresql+psycopg://slot_1@127.0.0.1:5432/app_preview_1",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlAuthority "SG2004" Denied {
        summary: "DATABASE_URL has no single, clear user@host:port",
        condition: "No `@`, more than one `@`, or a backslash: parsers disagree on where the host begins.",
        effect: "Half of the drivers connect to the host before the odd character, the others to the one behind it.",
        way_out: "Write exactly one @ between user and host; escape one in the password as %40.",
        bad: "postgresql://slot_1:p@ss@127.0.0.1:5432/app_preview_1",
        good: "postgresql://slot_1:p%40ss@127.0.0.1:5432/app_preview_1",
    }
    UrlUser "SG2005" Denied {
        summary: "DATABASE_URL has no plain user name",
        condition: "The user is missing, longer than 63 bytes, escaped, or holds characters other than letters, digits, `_`, `.` and `-`.",
        effect: "Without a user each driver takes another one: the operating system's, PGUSER's, or none.",
        way_out: "Name the slot's role, without escapes.",
        bad: "postgresql://127.0.0.1:5432/app_preview_1",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlPassword "SG2006" Denied {
        summary: "the password in DATABASE_URL is not written safely",
        condition: "A character that needs an escape, an incomplete escape, or an escape of a control character.",
        effect: "An escaped NUL ends the password for some drivers and starts another start-up field for others; the server then takes the last database named.",
        way_out: "Escape every character but letters, digits and . _ ~ - as %XX; %00 to %1F and %7F are never accepted.",
        bad: "postgresql://slot_1:pw%00@127.0.0.1:5432/app_preview_1",
        good: "postgresql://slot_1:pw%25@127.0.0.1:5432/app_preview_1",
    }
    UrlHost "SG2007" Denied {
        summary: "DATABASE_URL does not name exactly one host plainly",
        condition: "No host, a list of hosts, a socket path, an address in another number form, or characters that no host has.",
        effect: "127.1, 0x7f000001 or a list mean different servers to different drivers; without a host the default socket is used.",
        way_out: "Write 127.0.0.1 or [::1].",
        bad: "postgresql://slot_1@127.1:5432/app_preview_1",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlPort "SG2008" Denied {
        summary: "DATABASE_URL does not name exactly one port plainly",
        condition: "No port, a list, a sign, a leading zero, or a number outside 1 to 65535.",
        effect: "A missing port is taken from PGPORT; one driver wraps 120968 into 55432, others take the first of a list.",
        way_out: "Write the port in plain digits.",
        bad: "postgresql://slot_1@127.0.0.1/app_preview_1",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlDatabase "SG2009" Denied {
        summary: "DATABASE_URL does not name exactly one database plainly",
        condition: "No database, more than one path segment, a trailing slash, an escape, or characters that are not letters, digits, `_`, `.` or `-`.",
        effect: "Drivers decode, normalise or strip such paths differently, and take the user's name when the database is missing.",
        way_out: "Write the slot's database name right after host and port, with one slash.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1/",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlFragment "SG2010" Denied {
        summary: "DATABASE_URL has a fragment",
        condition: "A `#` anywhere in the text.",
        effect: "Two thirds of the drivers cut the text there, the others keep it as part of the database name.",
        way_out: "Remove the #; escape one in the password as %23.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1#main",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    UrlParameter "SG2011" Denied {
        summary: "DATABASE_URL has a parameter outside the allowlist",
        condition: "A parameter whose exact, lower-case, unescaped name is not on the short list, or an empty item.",
        effect: "`?dbname=`, `?host=`, `?service=` or `?options=` override the part of the URL that was checked, in most drivers.",
        way_out: "Remove the parameter; host, port, user and database belong before the question mark.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?dbname=app_production",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=disable",
    }
    UrlParameterValue "SG2012" Denied {
        summary: "a parameter in DATABASE_URL has a value outside its list",
        condition: "The name is allowed, but the value is not one of those it may have, or it holds an escape.",
        effect: "A value such as an escaped NUL can smuggle another start-up field past drivers.",
        way_out: "Use one of the values named as expected, or remove the parameter.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?application_name=x%00database%00app_production",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?application_name=x",
    }
    UrlParameterTwice "SG2013" Denied {
        summary: "a parameter in DATABASE_URL is given twice",
        condition: "The same parameter stands more than once.",
        effect: "The first wins in some drivers, the last in others, and one sends both in random order.",
        way_out: "Give each parameter once.",
        bad: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=disable&sslmode=require",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=disable",
    }
    UrlSecondOpinion "SG2014" Denied {
        summary: "two readers of DATABASE_URL disagree",
        condition: "Our grammar accepted the text, but the general URL reader finds another user, host, port, database or parameter in it.",
        effect: "If two readers can disagree, so can the application's driver.",
        way_out: "Write the canonical form, and report the text with its password replaced.",
        bad: "(no such text is known)",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    ForeignDatabase "SG2101" Denied {
        summary: "the database is not the slot's own",
        condition: "The URL is well formed but names a database other than `app_preview_<n>` of this slot.",
        effect: "The preview would read and write somebody else's data.",
        way_out: "Point DATABASE_URL at the slot's own database.",
        bad: "--slot preview-1, database app_staging",
        good: "--slot preview-1, database app_preview_1",
    }
    OtherSlotsDatabase "SG2102" Denied {
        summary: "the database belongs to another slot",
        condition: "The URL names `app_preview_<m>` while the slot is `preview-<n>`.",
        effect: "One preview would migrate and write the database of another.",
        way_out: "Use the slot that owns the database, or the database that the slot owns.",
        bad: "--slot preview-1, database app_preview_2",
        good: "--slot preview-1, database app_preview_1",
    }
    ProductionDatabase "SG2103" Denied {
        summary: "the database is production",
        condition: "The URL names a database listed under `[production] databases`.",
        effect: "A preview would write to production.",
        way_out: "Point DATABASE_URL at the slot's own database, and find out how production's address got here.",
        bad: "--slot preview-1, database app_production",
        good: "--slot preview-1, database app_preview_1",
    }
    ForeignEndpoint "SG2104" Denied {
        summary: "the server is not the slots' server",
        condition: "Host and port are not among `[database] endpoints`, or, when none are configured, the host is not 127.0.0.1 or [::1].",
        effect: "Another server may have a database of the same name: production's, for one.",
        way_out: "Use the configured endpoint; localhost and other names are refused because drivers resolve them differently.",
        bad: "postgresql://slot_1@127.0.0.9:5432/app_preview_1",
        good: "postgresql://slot_1@127.0.0.1:5432/app_preview_1",
    }
    ProductionEndpoint "SG2105" Denied {
        summary: "the server is production's",
        condition: "Host and port are listed under `[production] endpoints`.",
        effect: "A preview would reach production's server.",
        way_out: "Use the slots' own server, and find out how production's address got here.",
        bad: "a host and port of `[production] endpoints`",
        good: "a host and port of `[database] endpoints`",
    }
    ForeignRole "SG2106" Denied {
        summary: "the role is not the slot's own",
        condition: "`[database] role` is configured and the URL's user is not what it renders to for this slot.",
        effect: "Another role may have rights in other databases; isolation of slots rests on one role per slot.",
        way_out: "Use the slot's own role.",
        bad: "--slot preview-1, user app_admin",
        good: "--slot preview-1, user slot_1",
    }
    NoTarget "SG2201" InputMissing {
        summary: "no database target was given",
        condition: "Neither `--database-url-file`, `--database-url` nor `DATABASE_URL` is there, and the configuration is not enough to render one (exactly one endpoint and a role).",
        effect: "A driver left to itself would take its default server.",
        way_out: "Set DATABASE_URL, or configure `[database] endpoints` with one entry and `[database] role`.",
        bad: "slotguard check --slot preview-1 with an empty environment",
        good: "DATABASE_URL=postgresql://slot_1@127.0.0.1:5432/app_preview_1 slotguard check --slot preview-1",
    }
    TwoTargets "SG2202" Usage {
        summary: "the database target was given twice",
        condition: "Both `--database-url-file` and `--database-url` were given.",
        effect: "Which of the two wins would be a guess.",
        way_out: "Give one of them.",
        bad: "--database-url-file F --database-url U",
        good: "--database-url-file F",
    }
    TargetUnreadable "SG2203" InputMissing {
        summary: "the file with the database target cannot be read",
        condition: "The file of `--database-url-file` is missing, unreadable, longer than 4096 bytes or not text.",
        effect: "There is nothing to judge.",
        way_out: "Name a readable file that holds one URL and nothing else.",
        bad: "--database-url-file /does/not/exist",
        good: "--database-url-file - with the URL on standard input",
    }
    PasswordOnCommandLine "SG2204" Notice {
        summary: "a password was given on the command line",
        condition: "`--database-url` holds a password (a warning, never a refusal).",
        effect: "Every user of the host can read the command lines of running processes.",
        way_out: "Use --database-url-file or DATABASE_URL.",
        bad: "--database-url postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1",
        good: "--database-url-file /etc/slotguard/slot_1.url",
    }
    EndpointNotPinned "SG2205" Notice {
        summary: "the endpoint is not pinned",
        condition: "`[database] endpoints` is not configured, so any port of 127.0.0.1 or [::1] passes (a warning, never a refusal).",
        effect: "A tunnel or a second server on this host could answer on another port.",
        way_out: "Set `[database] endpoints` to the one address of the slots' server.",
        bad: "no [database] endpoints",
        good: "endpoints = [\"127.0.0.1:5432\"]",
    }
    EnvDuplicate "SG3001" BadData {
        summary: "a variable stands twice in the environment",
        condition: "The raw environment holds the same name more than once. This is asked before anything else.",
        effect: "getenv, Python and Node read the first, bash and dash the last: a guard and a program can see two different values.",
        way_out: "Set each variable once; look at what starts this program.",
        bad: "DATABASE_URL twice in one environment block",
        good: "DATABASE_URL once",
    }
    EnvMovesConnection "SG3002" Denied {
        summary: "the environment moves database connections",
        condition: "A variable beginning with `PG`, or `NODE_PG_FORCE_NATIVE`, is set, in any letter case.",
        effect: "PGHOSTADDR, PGSERVICE, PGOPTIONS or PGDATABASE move a connection although DATABASE_URL is complete.",
        way_out: "Unset the variable (an empty value is not enough).",
        bad: "PGHOSTADDR=127.0.0.9",
        good: "no variable that begins with PG",
    }
    EnvSecondDsn "SG3003" Denied {
        summary: "the environment holds a second database address",
        condition: "A variable other than `DATABASE_URL` is named like one, in any letter case, or its value is or holds a database address: a URL, `jdbc:`, or keywords such as `host=… dbname=…`.",
        effect: "Frameworks prefer DIRECT_URL or their own variable over DATABASE_URL, and connect there.",
        way_out: "Unset the variable; DATABASE_URL is the only database address of a preview.",
        bad: "DIRECT_URL=postgresql://…",
        good: "DATABASE_URL alone",
    }
    EnvUrlConflict "SG3004" Denied {
        summary: "DATABASE_URL differs from the target that was given",
        condition: "A target was given by option or in the request, and the environment's `DATABASE_URL` is another text.",
        effect: "What was checked would not be what the application uses.",
        way_out: "Give one of the two, or make them the same text.",
        bad: "--database-url A with DATABASE_URL=B",
        good: "DATABASE_URL=A alone",
    }
    EnvSlotConflict "SG3005" Denied {
        summary: "a slot variable belongs to another slot",
        condition: "`SLOT_ID`, `SLOT_NUM`, `SLOT_BACKEND_PORT` or `SLOT_DB_NAME` is set and is not the value of this slot.",
        effect: "The application would serve or connect as another slot.",
        way_out: "Unset it, or run for the slot it belongs to.",
        bad: "--slot preview-1 with SLOT_BACKEND_PORT=8102",
        good: "--slot preview-1 with SLOT_BACKEND_PORT=8101",
    }
    EnvMalformed "SG3006" BadData {
        summary: "an environment entry is malformed",
        condition: "An entry has no `=`, its name is empty or holds `=` or a control character, or its value holds a NUL.",
        effect: "Such an entry reads differently in every runtime.",
        way_out: "Remove the entry.",
        bad: "an entry whose name is empty",
        good: "NAME=value",
    }
    EnvFile "SG3008" Denied {
        summary: "a .env file in the worktree holds what a preview may not have",
        condition: "A `.env` or `.env.*` file at the top of the worktree names a `PG*` variable, a database address or a variable that is never passed, or cannot be read (`.env.example` and its kind are left alone).",
        effect: "Frameworks load such files themselves, past the environment that was checked; one of them lets them beat DATABASE_URL.",
        way_out: "Remove these lines; a preview gets its DATABASE_URL from its slot.",
        bad: "DATABASE_URL=postgres://… in .env",
        good: "LOG_LEVEL=debug in .env",
    }
    HomeFile "SG3009" Notice {
        summary: "a file in the home directory speaks of database connections",
        condition: "`~/.pgpass` or `~/.pg_service.conf` exists (a warning, never a refusal: a complete URL is not moved by them).",
        effect: "A program with an incomplete URL, or a service name, would use them.",
        way_out: "Run previews with a home of their own, as runtime-wrapper does.",
        bad: "~/.pg_service.conf in the worker's home",
        good: "a home without them",
    }
    SecretLikeValue "SG3010" Notice {
        summary: "an inherited value looks like a secret",
        condition: "A variable that `[env] inherit` allows has a value with the shape of a credential (a warning, never a refusal).",
        effect: "The preview, and whatever its branch runs, can read it.",
        way_out: "Make sure that it is a credential made for previews, or take the name off the list.",
        bad: "FEATURE_FLAGS=sk_live_…",
        good: "FEATURE_FLAGS=checkout,search",
    }
    ProgramNotAllowed "SG4001" Denied {
        summary: "the program is not allowed",
        condition: "No entry of `[programs]` has exactly this path.",
        effect: "A preview could start anything that the host has.",
        way_out: "Add an entry with the absolute path to `[programs]`, or run the program that is allowed.",
        bad: "runtime-wrapper exec --slot preview-1 -- /bin/sh",
        good: "runtime-wrapper exec --slot preview-1 -- /usr/bin/node server.js",
    }
    ProgramArguments "SG4002" Denied {
        summary: "the program's arguments are not allowed",
        condition: "An entry of `[programs]` has this path, but none allows these arguments.",
        effect: "An interpreter with free arguments runs anything.",
        way_out: "Run it with the arguments of the entry, or end the entry's `args` with \"...\".",
        bad: "/usr/bin/node -e CODE where args = [\"server.js\"]",
        good: "/usr/bin/node server.js",
    }
    ProgramUnsafe "SG4003" Denied {
        summary: "the program's file is not safe to run",
        condition: "It is not a regular file, is set-uid or set-gid, is writable by group or others, or belongs to neither root nor the caller; or that is so of a directory or link on the way to it (a writable directory with the sticky bit, such as /tmp, passes).",
        effect: "Somebody else could replace what the slot runs, or it would run with other rights.",
        way_out: "Name a regular file owned by root or the caller and not writable by others, in directories that are likewise.",
        bad: "a backend with mode 0777",
        good: "a backend with mode 0755",
    }
    ContainerRuntime "SG4004" Denied {
        summary: "container runtimes are not allowed",
        condition: "The program, or the file that its links lead to, is a container runtime or its client.",
        effect: "The contract allows host processes only; a container has its own network and environment, out of the guard's sight.",
        way_out: "Run the program itself as a host process.",
        bad: "/usr/bin/docker run …",
        good: "/usr/bin/node server.js",
    }
    LaunderingProgram "SG4005" Denied {
        summary: "the program would run something that is on no list",
        condition: "The entry matches, but the program, or the file that its links lead to, is a launcher such as `env` or `xargs` with arguments, the dynamic loader, a shell without a script, or an interpreter told to run text.",
        effect: "The allowlist would name the launcher, and anything could run behind it.",
        way_out: "Put the program itself on the list, or the text into a script that the entry names.",
        bad: "/bin/sh -c \"node server.js\"",
        good: "/bin/sh start.sh",
    }
    PathOutsideRoot "SG4101" Denied {
        summary: "the path is not beneath its root",
        condition: "The path leaves its configured root, or a component of it is a symbolic link.",
        effect: "A file operation of a preview would touch another slot's or the host's files.",
        way_out: "Give a directory beneath the configured root, without symbolic links below it.",
        bad: "--worktree /srv/previews/../etc",
        good: "--worktree /srv/previews/feature-7",
    }
    PathMalformed "SG4102" Denied {
        summary: "the path is not written plainly",
        condition: "A relative path where an absolute one is needed, a `.` or `..` component, an empty component, a control character, or an escape.",
        effect: "The text checked and the file opened could differ.",
        way_out: "Write the absolute path without `.`, `..` or doubled slashes.",
        bad: "--worktree previews/x",
        good: "--worktree /srv/previews/x",
    }
    RootUnusable "SG4103" Configuration {
        summary: "a configured root cannot be used",
        condition: "The root is not configured where it is needed, does not exist, is not a directory, or belongs to neither root nor the caller.",
        effect: "Without a safe root no path beneath it is safe.",
        way_out: "Create the directory, owned by root or the caller, and name it under `[roots]`.",
        bad: "[roots] state on a missing directory that cannot be created",
        good: "[roots] state = \"/var/lib/slotguard/state\"",
    }
    PathMissing "SG4104" InputMissing {
        summary: "the path does not exist",
        condition: "A named directory or file beneath its root is missing.",
        effect: "There is nothing to work on.",
        way_out: "Create it, or correct the path.",
        bad: "--worktree /srv/previews/gone",
        good: "--worktree /srv/previews/feature-7",
    }
    LiveDatabase "SG5001" Denied {
        summary: "the server says this is another database",
        condition: "After connecting, `current_database()` is not the slot's database.",
        effect: "A pooler or a proxy maps the name to another database; the migration would go there.",
        way_out: "Connect to the server directly, and find out what maps the name.",
        bad: "a pooler that maps app_preview_1 to app_production",
        good: "a direct connection",
    }
    LiveRole "SG5002" Denied {
        summary: "the server says this is another role",
        condition: "After connecting, `session_user` or `current_user` is not the role of the URL.",
        effect: "A role setting or a pooler changed who acts; its rights are not the slot's.",
        way_out: "Connect directly as the slot's role, and remove `ALTER ROLE … SET role`.",
        bad: "session_user app_admin",
        good: "session_user slot_1",
    }
    LiveRecovery "SG5003" Denied {
        summary: "the server is a standby",
        condition: "`pg_is_in_recovery()` is true.",
        effect: "A standby carries a copy of somebody's data and cannot be migrated.",
        way_out: "Connect to the slots' own server.",
        bad: "a read replica",
        good: "the slots' primary",
    }
    LiveServer "SG5004" Denied {
        summary: "the server is not the pinned one",
        condition: "`[database] system_identifier` is configured, and the live server has another one or does not tell it.",
        effect: "Another cluster answers at the slots' address: production's through a tunnel, or a restored copy.",
        way_out: "Find out which server answers there; after a deliberate move, write its `system_identifier` (SELECT system_identifier FROM pg_control_system()) into the configuration.",
        bad: "a tunnel to production on the slots' port",
        good: "the server that was pinned",
    }
    LiveRights "SG5005" Denied {
        summary: "the slot's role or database has rights that it must not have",
        condition: "The role is a superuser or may create databases or roles, replicate or bypass row security, or is a member of a predefined role. With a stamp also: it is a member of any role, may connect to another database, or the database belongs to another role than `preview_admin`.",
        effect: "The role could leave its database whatever the guard says; the server is the last line that must hold when every check above it has a bug.",
        way_out: "Run `migrate-runner provision --check` for every difference, then `migrate-runner provision`.",
        bad: "ALTER ROLE slot_1 CREATEDB",
        good: "a role that may log in and nothing else",
    }
    StampedProduction "SG5006" Denied {
        summary: "the database is stamped as production",
        condition: "The comment of the database that answered is a production stamp (`migrate-runner protect --as production`).",
        effect: "It is production, whatever its name: a rename, a restored dump or a pooler led here.",
        way_out: "Find out how the slot's name came to lead to production; do not remove the stamp.",
        bad: "production renamed to app_preview_1",
        good: "the slot's own database",
    }
    StampMismatch "SG5007" Denied {
        summary: "the stamp was made for another database",
        condition: "The stamp cannot be read, names another slot, another server or another database, or changed while the session was open.",
        effect: "The database came here from somewhere else: a copy of the cluster, a restored dump, a renamed database.",
        way_out: "Find out where it came from. `migrate-runner reset --slot S --to seed` replaces a slot's own database; `migrate-runner adopt` takes over one that you looked at.",
        bad: "pg_restore -C of another server's app_preview_1",
        good: "a database made by `migrate-runner provision` or `reset`",
    }
    StampRow "SG5008" Denied {
        summary: "the content of the database is not what was stamped",
        condition: "The table `slotguard.identity` is missing, not the administrator's, or does not hold exactly one row with the stamp's nonce; or it is there although the database carries no stamp.",
        effect: "Somebody's data was restored into the database, production's perhaps.",
        way_out: "Reset the slot: `migrate-runner reset --slot S --to seed`.",
        bad: "a data-only restore of another stamped database",
        good: "a database whose content was made by its own migrations",
    }
    StampLedger "SG5009" Denied {
        summary: "the migration ledger is not the one that was stamped",
        condition: "The stamp pins the object id of `public.refinery_schema_history`, and that table is gone, is another one, or is no plain table of the slot's role.",
        effect: "A restore or a migration replaced the ledger, so what it says was applied is not what was applied here.",
        way_out: "Reset the slot: `migrate-runner reset --slot S --to seed`.",
        bad: "pg_restore --clean over the slot's database",
        good: "the ledger that came with the database",
    }
    StampMissing "SG5010" Denied {
        summary: "the database carries no stamp",
        condition: "`[database] require_stamp = true`, and the database has no stamp in its comment.",
        effect: "Its name is the only thing that says that it is the slot's; another server may have a database of that name.",
        way_out: "Let `migrate-runner provision` make it, or `migrate-runner adopt` stamp it.",
        bad: "CREATE DATABASE app_preview_1 by hand",
        good: "migrate-runner provision",
    }
    NotStamped "SG5011" Notice {
        summary: "the database carries no stamp, and none is required",
        condition: "The database has no stamp in its comment and `[database] require_stamp` is not set.",
        effect: "The guard can compare names, role and server only.",
        way_out: "Run `migrate-runner provision` or `adopt`, then set `[database] require_stamp = true`.",
        bad: "a database made by hand",
        good: "a provisioned database",
    }
    RoleNotConfined "SG5012" Notice {
        summary: "the slot's role may connect to other databases",
        condition: "The database carries no stamp, and its role has CONNECT on another database, often by the default that PostgreSQL gives to PUBLIC.",
        effect: "When every check of this project has a bug, the server will not stop the role either.",
        way_out: "Run `migrate-runner provision`, which revokes the defaults.",
        bad: "a new cluster: PUBLIC may connect everywhere",
        good: "REVOKE ALL ON DATABASE app_production FROM PUBLIC",
    }
    ServerUnreachable "SG5101" Unavailable {
        summary: "the database server does not answer",
        condition: "The connection could not be made within its time, or it broke.",
        effect: "Nothing was decided about the live database and nothing was changed.",
        way_out: "Start the server, or correct host and port.",
        bad: "nothing listens on the port",
        good: "a running server",
    }
    LoginRefused "SG5102" Unavailable {
        summary: "the server refused the login",
        condition: "Wrong password, unknown role or database, no CONNECT privilege, or pg_hba.conf.",
        effect: "Nothing was changed.",
        way_out: "Check role, password and pg_hba.conf; provision the slot if it has no database yet.",
        bad: "a password of another slot",
        good: "the slot's own password",
    }
    TlsUnavailable "SG5103" Unavailable {
        summary: "TLS was demanded and is not available",
        condition: "The URL has `ssl=true`, or an `sslmode` of `require`, `verify-ca` or `verify-full`, and `[database] tls_ca` is not set; without it migrate-runner connects in clear.",
        effect: "Connecting anyway would silently weaken what the URL asks for.",
        way_out: "Name the authority of the server's certificate in `[database] tls_ca`; or use sslmode=disable or sslmode=prefer on loopback.",
        bad: "?sslmode=require",
        good: "?sslmode=prefer",
    }
    ServerTls "SG5104" Denied {
        summary: "the server does not prove by TLS who it is",
        condition: "With `[database] tls_ca`, the server declines TLS, or its certificate is not of that authority, not for `tls_server_name` (or the endpoint's address), or not valid now.",
        effect: "A login would be used, and data sent, on a connection that somebody else may read or answer. Nothing was said but the question for TLS.",
        way_out: "Switch `ssl` on at the server; name the authority of its certificate in `tls_ca` and the name in it in `tls_server_name`.",
        bad: "tls_ca of another authority than the server's",
        good: "tls_ca of the server's authority, with a certificate for the endpoint's address",
    }
    TlsAuthority "SG5105" Configuration {
        summary: "the certificates of the server's authority cannot be used",
        condition: "The file of `[database] tls_ca` is missing, is not root's or the caller's, could be written by others, or holds no certificate in PEM.",
        effect: "Nothing could prove who the server is, so nothing is connected to.",
        way_out: "Write the certificate of the authority to the file, as root, with mode 0644.",
        bad: "tls_ca = \"/etc/slotguard/server-ca.pem\" with no such file",
        good: "a file of root with -----BEGIN CERTIFICATE-----",
    }
    AdminTarget "SG5201" Denied {
        summary: "an administrator's connection leads to another database",
        condition: "The URL of `--admin-url` or `--admin-url-file` names another database than `postgres`.",
        effect: "An administrator decides which database is meant by its stamp, never by a URL.",
        way_out: "Write the URL of the maintenance database `postgres`.",
        bad: "postgresql://postgres@127.0.0.1:5432/app_production",
        good: "postgresql://postgres@127.0.0.1:5432/postgres",
    }
    NotAdministrator "SG5202" Denied {
        summary: "the role is not the administrator that is needed",
        condition: "`provision`, `protect` and `adopt` need a superuser; `reset` and `seed` need `preview_admin`, which must be none.",
        effect: "Half of the work would fail, or be done with more rights than it needs.",
        way_out: "Connect as the right role.",
        bad: "provision as slot_1",
        good: "provision as postgres",
    }
    ConsentMissing "SG5203" Usage {
        summary: "a plan was printed and nobody agreed to it",
        condition: "`provision`, `protect` or `adopt` would change the cluster, `--yes` is not given, and nobody typed `y`.",
        effect: "Nothing was changed.",
        way_out: "Read the plan, then run the same command with `--yes`.",
        bad: "provision < /dev/null",
        good: "provision --yes",
    }
    ServerTooOld "SG5204" Unavailable {
        summary: "the server's version is not supported",
        condition: "The server is older than PostgreSQL 15.",
        effect: "Before 15, the schema `public` is open to everybody and a role can grant itself away.",
        way_out: "Use PostgreSQL 15 or later for the slots' server.",
        bad: "PostgreSQL 14",
        good: "PostgreSQL 15",
    }
    PasswordFiles "SG5205" Configuration {
        summary: "it is not known where passwords are kept",
        condition: "`[database]` lacks `password_file`, `admin_password_file` or `seed_password_file`, or a file cannot be written or read.",
        effect: "A password would have to be printed, which never happens.",
        way_out: "Configure the files, in a directory that only root or the caller can write to.",
        bad: "no admin_password_file",
        good: "admin_password_file = \"/etc/slotguard/preview_admin.pw\"",
    }
    AdminSql "SG5206" BadData {
        summary: "the server refused an administrator's statement",
        condition: "A statement of `provision`, `protect`, `adopt`, `reset` or `seed` failed.",
        effect: "What was done before it stays; each of these commands can be run again.",
        way_out: "Read what the server says, mend it, and run the command again.",
        bad: "a disk without room for the copy",
        good: "a server that has room",
    }
    AdminSettings "SG5207" Denied {
        summary: "an administrator's session lacks its settings",
        condition: "After connecting, `search_path` is not the one that the session asked for: a pooler before the server drops start-up options.",
        effect: "In a slot's database, an operator or a function of the slot could answer in the place of the server's own, with the administrator's rights.",
        way_out: "Connect the administrator to the server directly, by its own port or by `--admin-socket`.",
        bad: "pgbouncer with ignore_startup_parameters = options",
        good: "the server's own port",
    }
    ProvisionRole "SG5301" BadData {
        summary: "a role is not as provisioning makes it",
        condition: "A role of the slots is missing, cannot log in, has no password, or has an attribute or a grant that it must not have.",
        effect: "The slot cannot work, or its role can do more than its slot's work.",
        way_out: "Run `migrate-runner provision`.",
        bad: "ALTER ROLE slot_1 CREATEROLE",
        good: "a role that may log in and nothing else",
    }
    ProvisionMembership "SG5302" BadData {
        summary: "a membership of a role is not as provisioning makes it",
        condition: "A slot's role is a member of another role, another role is a member of it, or `preview_admin` lacks a membership that it needs.",
        effect: "A member acts with the rights of the group: one slot as another, or a slot with a predefined role's rights.",
        way_out: "Run `migrate-runner provision`.",
        bad: "GRANT slot_1 TO slot_2",
        good: "only preview_admin is a member of slot_1",
    }
    ProvisionLimit "SG5303" BadData {
        summary: "a limit is not as the configuration wants it",
        condition: "A connection limit or a stored limit of `[quotas]` differs, or the slots together could use up every connection.",
        effect: "One preview can starve the others, or production.",
        way_out: "Run `migrate-runner provision`; lower `[quotas] connections` or raise max_connections.",
        bad: "ALTER ROLE slot_1 CONNECTION LIMIT -1",
        good: "CONNECTION LIMIT 20",
    }
    ProvisionSetting "SG5304" BadData {
        summary: "a setting is stored with a slot's role",
        condition: "pg_db_role_setting holds a setting of a slot's role that is not one of the limits.",
        effect: "It acts in every session: a search path, another role, a plugin.",
        way_out: "Run `migrate-runner provision`, which resets it.",
        bad: "ALTER ROLE slot_1 SET role = app_admin",
        good: "only temp_file_limit and the two timeouts",
    }
    ProvisionDatabase "SG5305" BadData {
        summary: "a database is missing, left behind or in another state",
        condition: "A slot's database or the seed is missing, a `__next` or `__old` is left over, or ALLOW_CONNECTIONS, IS_TEMPLATE or CONNECTION LIMIT differ.",
        effect: "The slot cannot be used or reset, or its database can be copied by others.",
        way_out: "Run `migrate-runner provision`; `migrate-runner reset` removes leftovers.",
        bad: "ALTER DATABASE app_preview_1 IS_TEMPLATE true",
        good: "an open database that is no template",
    }
    ProvisionOwner "SG5306" BadData {
        summary: "something belongs to another role than it must",
        condition: "A slot's database or the seed is not `preview_admin`'s, its schema `public` is not the slot's, it holds tables of somebody else, or a slot's role owns something outside its database.",
        effect: "An owner can let everybody in, lift limits and change the stamp.",
        way_out: "Run `migrate-runner provision`, or `adopt` for a database that was made by hand.",
        bad: "ALTER DATABASE app_preview_1 OWNER TO slot_1",
        good: "owner preview_admin",
    }
    ProvisionPrivilege "SG5307" BadData {
        summary: "a privilege on a database is too wide or missing",
        condition: "PUBLIC or a foreign role has a privilege on a slot's database or the seed, a slot's role may enter another database, or it lacks a privilege on its own.",
        effect: "A role that may connect to one database only still holds when every check above it has a bug; this one does not.",
        way_out: "Run `migrate-runner provision`; name other databases with `--database`.",
        bad: "PUBLIC has CONNECT on app_production (the default)",
        good: "REVOKE ALL ON DATABASE app_production FROM PUBLIC",
    }
    ProvisionStamp "SG5308" BadData {
        summary: "a database does not carry its own stamp",
        condition: "The comment, the stamp's table or the pinned ledger of a slot's database or the seed are not those that provisioning made.",
        effect: "Every command that needs the identity of the slot's database will refuse it.",
        way_out: "Reset the slot, or `migrate-runner adopt` its database after looking at it.",
        bad: "COMMENT ON DATABASE app_preview_1 IS NULL",
        good: "the stamp that provisioning wrote",
    }
    ProvisionProduction "SG5309" BadData {
        summary: "production is not protected",
        condition: "A database of `[production] databases` exists on the slots' server without a production stamp, or is a template.",
        effect: "Renamed or restored, it would be known by its name only.",
        way_out: "Run `migrate-runner protect --as production --database DB`.",
        bad: "app_production without a stamp",
        good: "app_production, stamped as production",
    }
    ProvisionContent "SG5310" BadData {
        summary: "a slot's database holds what reaches out of it",
        condition: "An untrusted extension or language, a foreign server, a publication, an event trigger, or a superuser's SECURITY DEFINER function.",
        effect: "The slot's role can reach other databases, files or programs with the rights of whoever installed it.",
        way_out: "Drop it, or reset the slot.",
        bad: "CREATE EXTENSION dblink",
        good: "CREATE EXTENSION pgcrypto",
    }
    ProvisionServer "SG5311" BadData {
        summary: "the server's settings are not fit for slots",
        condition: "max_prepared_transactions is above 0, pg_hba.conf trusts connections to a slot's database, or a slot's database is replicated.",
        effect: "A reset can be blocked, a password is not asked for, or data leaves the server.",
        way_out: "Change the setting; `migrate-runner provision` prints the lines for pg_hba.conf.",
        bad: "host all all 127.0.0.1/32 trust",
        good: "host app_preview_1 slot_1 127.0.0.1/32 scram-sha-256",
    }
    ResetUnproven "SG5401" Denied {
        summary: "what would be replaced is not provably the slot's",
        condition: "The slot's database is missing, belongs to another role than `preview_admin`, or its stamp is not the slot's on this server.",
        effect: "A reset drops what it replaces.",
        way_out: "Run `migrate-runner provision` to make it, or `migrate-runner adopt` to stamp it after looking at it.",
        bad: "reset of a database that was made by hand",
        good: "reset of a provisioned database",
    }
    ResetTemplate "SG5402" Denied {
        summary: "a slot's database cannot be copied from there",
        condition: "The template is missing, is production's or another slot's, or holds objects of roles that cannot be handed over.",
        effect: "Somebody else's data would be copied into a preview, or the slot could not change what it gets.",
        way_out: "Build the seed with `migrate-runner seed build`, or name a template whose objects belong to `preview_seed_owner`.",
        bad: "--to template app_production",
        good: "--to seed",
    }
    ResetBusy "SG5403" Busy {
        summary: "the database is in use, or another reset runs",
        condition: "Another reset of the slot holds its lock, or sessions that cannot be ended (a superuser's, a prepared transaction) keep the database.",
        effect: "Nothing was exchanged; what was built is dropped, now or by the next run.",
        way_out: "End what is named, then try again.",
        bad: "psql as postgres in app_preview_1",
        good: "only the slot's own sessions, which are ended",
    }
    ResetInterrupted "SG5404" Busy {
        summary: "a reset or the building of the seed was interrupted",
        condition: "SIGINT, SIGTERM or SIGHUP came before the new database took the place of the old one.",
        effect: "Nothing was exchanged; the old database serves on, and what was built is dropped, now or by the next run.",
        way_out: "Run it again. A signal during the exchange itself, which takes a moment, lets the reset end as usual.",
        bad: "Ctrl-C while the seed is copied",
        good: "Ctrl-C after `exchanged`",
    }
    MigrationsMissing "SG6001" InputMissing {
        summary: "there are no migrations to read",
        condition: "The directory of `--migrations` is missing, unreadable, or holds no `.sql` file.",
        effect: "An empty set would look like success.",
        way_out: "Name the directory that holds V1__name.sql and its successors.",
        bad: "--migrations db (an empty directory)",
        good: "--migrations db/migrations",
    }
    MigrationName "SG6002" BadData {
        summary: "a migration's file name cannot be read",
        condition: "A file is not named as its layout has it: for refinery a `.sql` file is `V<number>__<name>.sql`, with letters, digits and `_` in the name and a number that fits 63 bits.",
        effect: "refinery and other tools skip such a file without a word.",
        way_out: "Rename the file; if the directory belongs to another tool, name that with `--layout`.",
        bad: "V2_add_orders.sql",
        good: "V2__add_orders.sql",
    }
    MigrationDuplicate "SG6003" BadData {
        summary: "two migrations have the same version",
        condition: "Two files share one version number.",
        effect: "Only one of them would ever run; which one depends on the order of the directory.",
        way_out: "Give one of them the next free number.",
        bad: "V3__a.sql and V3__b.sql",
        good: "V3__a.sql and V4__b.sql",
    }
    MigrationDivergent "SG6004" BadData {
        summary: "an applied migration has changed",
        condition: "The file of an applied version has another content or name than when it ran.",
        effect: "The database no longer matches the files; production would get something else.",
        way_out: "Restore the file as it was applied and put the change into a new migration.",
        bad: "V1__create.sql edited after it was applied",
        good: "a new V2__change.sql",
    }
    MigrationMissing "SG6005" BadData {
        summary: "an applied migration has no file",
        condition: "The ledger lists a version that the directory does not have.",
        effect: "The database is ahead of this branch, or the file was lost.",
        way_out: "Bring the file back, or use the branch that has it.",
        bad: "V2 applied, V2__x.sql deleted",
        good: "every applied version has its file",
    }
    MigrationLate "SG6006" BadData {
        summary: "a new migration has a number below an applied one",
        condition: "A pending version is lower than the highest applied one.",
        effect: "Fresh databases would run it in another order than this one.",
        way_out: "Give it a number above the highest applied one.",
        bad: "V2__late.sql when V3 is applied",
        good: "V4__late.sql",
    }
    MigrationFailed "SG6007" BadData {
        summary: "the server refused a migration",
        condition: "A statement of a migration failed; its transaction was rolled back.",
        effect: "The versions before it stay applied, this one and the later ones do not.",
        way_out: "Correct the statement and apply again.",
        bad: "SELECT 1/0;",
        good: "SELECT 1;",
    }
    MigrationTransaction "SG6008" BadData {
        summary: "a migration ended its own transaction",
        condition: "After the migration's text ran, its transaction was no longer the one that was opened for it.",
        effect: "COMMIT or ROLLBACK in a migration leaves half of it applied, or records it as applied with nothing done.",
        way_out: "Remove BEGIN, COMMIT, ROLLBACK and their kind from the migration, and check what it left behind.",
        bad: "CREATE TABLE a (); COMMIT; CREATE TABLE b ();",
        good: "CREATE TABLE a (); CREATE TABLE b ();",
    }
    LedgerUnreadable "SG6009" BadData {
        summary: "the migration ledger cannot be read",
        condition: "The table `refinery_schema_history` has unexpected columns or rows.",
        effect: "What has been applied would be a guess.",
        way_out: "Look at the table; it must be refinery's own.",
        bad: "a ledger whose checksum column holds words",
        good: "the ledger as refinery writes it",
    }
    MigrationUnreadable "SG6010" BadData {
        summary: "a migration file cannot be read",
        condition: "An entry of the migrations directory is a link, a directory or another special file, is larger than 16 MiB, is not UTF-8, or begins with a byte order mark.",
        effect: "Skipping it without a word would leave the database behind the files.",
        way_out: "Make it a plain UTF-8 file without byte order mark, or move it elsewhere.",
        bad: "V2__x.sql as a symbolic link",
        good: "V2__x.sql as a regular file",
    }
    LedgerChanged "SG6011" BadData {
        summary: "the migration ledger changed while a run went on",
        condition: "Before or after a migration, the rows of `public.refinery_schema_history` are not those that the run has seen and written.",
        effect: "The migration was rolled back: what the ledger says would no longer be what was applied.",
        way_out: "Find out who else writes the ledger; a migration must not touch it.",
        bad: "a trigger or another session that deletes rows of the ledger",
        good: "a ledger that only migrate-runner writes",
    }
    RunLocked "SG6012" Busy {
        summary: "another run on the database does not end",
        condition: "The advisory lock of a run is held by another session for longer than `--wait`, or a migration or a pooler gave up our own.",
        effect: "Two runs at once would collide, or apply a migration twice.",
        way_out: "Wait for the other run, or end the session that is named; then try again.",
        bad: "two `apply` at the same time, the first for minutes",
        good: "one `apply`",
    }
    MigrationBlocked "SG6013" Busy {
        summary: "a migration waited in vain for a lock",
        condition: "A statement waited for a lock longer than `--lock-timeout`, again and again for as long as `--retry-for`.",
        effect: "The migration is rolled back, or half applied where it runs statement by statement. It does not wait longer, because everybody who comes later queues behind it.",
        way_out: "End the session that is named, or stop the slot's backend, and try again.",
        bad: "a backend that holds a transaction open for minutes",
        good: "short transactions",
    }
    MigrationLineEnds "SG6014" BadData {
        summary: "only the line ends of an applied migration have changed",
        condition: "The file of an applied version is the one that ran but for its line ends: an editor or a setting of git changed them.",
        effect: "refinery would call it another migration; its effect is the same.",
        way_out: "Give the file its old line ends (`.gitattributes`: `*.sql text eol=lf`).",
        bad: "V1__a.sql checked out with CRLF",
        good: "V1__a.sql with the line ends it was applied with",
    }
    RunInterrupted "SG6015" Busy {
        summary: "a run was interrupted",
        condition: "SIGINT, SIGTERM or SIGHUP came while `apply` waited or ran.",
        effect: "The migration that ran is rolled back, or half applied where it runs statement by statement; the lock is free, and the versions before it stay applied.",
        way_out: "Apply again; it goes on from there.",
        bad: "Ctrl-C while a migration runs",
        good: "a run to the end",
    }
    AdoptVersion "SG6016" BadData {
        summary: "a version to adopt has no file",
        condition: "`adopt --migrations … --up-to` names a version that no file of the directory has.",
        effect: "Where the line between recorded and pending lies would be a guess, and a migration behind it would never run.",
        way_out: "Name the version of the last file whose schema the database has.",
        bad: "--up-to 12 with V1__a.sql and V2__b.sql",
        good: "--up-to 2",
    }
    ReachesDatabases "SG6201" BadData {
        summary: "a migration reaches databases",
        condition: "A migration creates, alters, drops, comments on or reindexes a database, or grants rights on one.",
        effect: "A database named in a file is another slot's when the file runs there, and settings of a database outlive the branch.",
        way_out: "Leave databases to the host; a migration changes only what is inside its own.",
        bad: "CREATE DATABASE reports;",
        good: "CREATE SCHEMA reports;",
    }
    ReachesRoles "SG6202" BadData {
        summary: "a migration reaches roles",
        condition: "A migration creates, alters or drops a role, grants or revokes membership, acts on what a role owns, or sets default privileges for another role.",
        effect: "Roles belong to the whole server: a changed password locks out every slot, and a setting of a role acts in every database.",
        way_out: "Have roles provisioned once on the host and only grant them rights on tables here.",
        bad: "CREATE ROLE reporting;",
        good: "GRANT SELECT ON orders TO reporting;",
    }
    ReachesTablespaces "SG6203" BadData {
        summary: "a migration reaches tablespaces",
        condition: "A migration creates, alters, drops or names a tablespace other than `pg_default`.",
        effect: "Tablespaces are storage that all databases of the server share.",
        way_out: "Leave the clause out; the slot's database has its own default.",
        bad: "CREATE TABLE a () TABLESPACE fast;",
        good: "CREATE TABLE a ();",
    }
    ReachesServer "SG6204" BadData {
        summary: "a migration reaches the server's settings or control",
        condition: "A migration changes a setting of the server, or calls a function that controls the server or resets its statistics.",
        effect: "Every database of the server would run with it.",
        way_out: "Ask whoever runs the server; a migration may `SET` what ends with its session.",
        bad: "ALTER SYSTEM SET work_mem = '1GB';",
        good: "SET LOCAL work_mem = '64MB';",
    }
    ReachesFiles "SG6205" BadData {
        summary: "a migration reaches the server's files or programs",
        condition: "A migration reads or writes files of the server, runs a program on it, or shows its configuration.",
        effect: "Files and programs of the database server are outside of every slot.",
        way_out: "Put the data into the migration as `INSERT`.",
        bad: "COPY a FROM '/srv/a.csv';",
        good: "INSERT INTO a VALUES (1);",
    }
    ReachesForeignData "SG6206" BadData {
        summary: "a migration reaches foreign data",
        condition: "A migration uses `dblink`, foreign servers, user mappings, foreign tables or wrappers.",
        effect: "A connection from inside the server reaches any database, production included, and no check of ours sees it.",
        way_out: "Copy what is needed into tables of the slot.",
        bad: "SELECT * FROM dblink('dbname=other', 'SELECT 1') AS t (a int);",
        good: "SELECT * FROM local_copy;",
    }
    ReachesReplication "SG6207" BadData {
        summary: "a migration reaches publications or subscriptions",
        condition: "A migration creates, alters, drops or comments on a publication or a subscription.",
        effect: "Data leaves or enters the slot's database as soon as somebody subscribes.",
        way_out: "Leave replication to the host.",
        bad: "CREATE PUBLICATION p FOR TABLE a;",
        good: "CREATE TABLE a ();",
    }
    ReachesReplicationSlots "SG6208" BadData {
        summary: "a migration reaches replication slots or the log",
        condition: "A migration calls a function for replication slots, replication origins or messages in the write-ahead log.",
        effect: "A slot that nobody reads keeps the log of the whole server until its disk is full.",
        way_out: "Leave replication to the host.",
        bad: "SELECT pg_create_physical_replication_slot('s');",
        good: "SELECT pg_current_wal_lsn();",
    }
    UnscreenableLanguage "SG6209" BadData {
        summary: "a migration has code in a language that cannot be screened",
        condition: "A migration creates a language, or a routine or `DO` block in a language other than `sql` and `plpgsql`.",
        effect: "Nobody could tell what the code reaches; untrusted languages reach everything that the server may.",
        way_out: "Write the routine in `plpgsql` or `sql`.",
        bad: "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'f';",
        good: "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
    }
    UntrustedExtension "SG6210" BadData {
        summary: "a migration brings an extension that is not known as trusted",
        condition: "A migration creates or alters an extension that is not on the list of trusted ones, or changes what belongs to one.",
        effect: "Such extensions can reach files, other databases or the whole server.",
        way_out: "Have the extension put into the slots' template, or do without it.",
        bad: "CREATE EXTENSION dblink;",
        good: "CREATE EXTENSION pgcrypto;",
    }
    ServerCode "SG6211" BadData {
        summary: "a migration brings code into the server itself",
        condition: "A migration loads a library, or defines an event trigger, an access method, a base type, an operator class, a transform, or a parser or template of text search.",
        effect: "Such code runs inside of the server, not inside of the slot's rights.",
        way_out: "Do without it; ordinary functions, types and operators are allowed.",
        bad: "LOAD 'auto_explain';",
        good: "CREATE TYPE mood AS ENUM ('sad', 'ok');",
    }
    SwitchesIdentity "SG6212" BadData {
        summary: "a migration switches its role",
        condition: "A migration sets or resets the role or the session authorization, also as a setting or for a function.",
        effect: "What follows would run with other rights than those that were proved.",
        way_out: "Let the whole migration run as the slot's role.",
        bad: "SET ROLE app_admin;",
        good: "SET LOCAL search_path = app;",
    }
    SignalsSessions "SG6213" BadData {
        summary: "a migration ends or cancels sessions",
        condition: "A migration calls `pg_terminate_backend` or `pg_cancel_backend`.",
        effect: "A role may signal its sessions in every database, not only in this one.",
        way_out: "Leave it out; who holds a lock is told when a migration has to wait.",
        bad: "SELECT pg_terminate_backend(1);",
        good: "SELECT pg_backend_pid();",
    }
    SharedCatalog "SG6214" BadData {
        summary: "a migration reaches the server's catalogs",
        condition: "A migration writes to or locks a system catalog or the settings' view, or reads one that holds passwords.",
        effect: "Shared catalogs are those of all databases; a lock on one stops every login.",
        way_out: "Change objects by their own statements; reading `pg_roles`, `pg_class` and their kind is allowed.",
        bad: "DELETE FROM pg_database;",
        good: "SELECT datname FROM pg_database;",
    }
    EndsTransaction "SG6215" BadData {
        summary: "a migration controls its own transaction",
        condition: "A migration begins, ends or prepares a transaction, sets a savepoint or changes how transactions behave.",
        effect: "Half of the migration would stay, or it would be recorded with nothing done.",
        way_out: "Remove the statement; each migration runs in a transaction of its own.",
        bad: "CREATE TABLE a (); COMMIT;",
        good: "CREATE TABLE a ();",
    }
    ReachesLedger "SG6216" BadData {
        summary: "a migration reaches the ledger of migrations",
        condition: "A migration names `refinery_schema_history`, or drops or renames the schema `public` that holds it.",
        effect: "The record of what has run would no longer be true.",
        way_out: "Leave the ledger to the runner.",
        bad: "DELETE FROM refinery_schema_history;",
        good: "DELETE FROM app_history;",
    }
    ChangesSession "SG6217" BadData {
        summary: "a migration changes the runner's session",
        condition: "A migration discards or resets the whole session, listens on it, exports its snapshot or releases advisory locks.",
        effect: "The runner's lock, limits and checks live in that session.",
        way_out: "Reset single settings, or use `SET LOCAL`.",
        bad: "DISCARD ALL;",
        good: "RESET search_path;",
    }
    ChangesReader "SG6218" BadData {
        summary: "a migration changes how text is read",
        condition: "A migration sets `standard_conforming_strings`, `client_encoding` or `backslash_quote` to other values than the usual ones.",
        effect: "The server would read the same text in another way than the screening did.",
        way_out: "Remove the setting; write escapes as `E'…'`.",
        bad: "SET standard_conforming_strings = off;",
        good: "SET standard_conforming_strings = on;",
    }
    NotInTransaction "SG6219" BadData {
        summary: "a statement cannot run in a transaction",
        condition: "A body, a `DO` block, an executed text or a file of seed data has a statement that the server refuses inside of a transaction, such as `CREATE INDEX CONCURRENTLY` or `VACUUM`.",
        effect: "It would fail each time: what is around it is a transaction.",
        way_out: "Put the statement by itself into a migration, which then runs statement by statement; or use the form without `CONCURRENTLY`.",
        bad: "DO $$ BEGIN EXECUTE 'VACUUM a'; END $$;",
        good: "VACUUM a;",
    }
    PsqlCommand "SG6220" BadData {
        summary: "a command of psql is in a migration",
        condition: "A backslash stands outside of a string, as in `\\connect`, `\\!` or the `\\restrict` of a dump.",
        effect: "Only psql understands such lines, and some of them connect elsewhere or run programs; the server refuses them.",
        way_out: "Remove the line; dumps are made without such lines by `pg_dump --inserts` and removing `\\restrict`.",
        bad: "\\connect app_production",
        good: "SELECT current_database();",
    }
    CopyWithClient "SG6221" BadData {
        summary: "a migration exchanges data with the client",
        condition: "A migration has `COPY … FROM STDIN` or `COPY … TO STDOUT`.",
        effect: "There is no client that would send or take the data, and the connection breaks.",
        way_out: "Write the rows as `INSERT`, as `pg_dump --inserts` does.",
        bad: "COPY a FROM stdin;",
        good: "INSERT INTO a VALUES (1);",
    }
    Undecidable "SG6222" BadData {
        summary: "nobody can tell what a statement will run",
        condition: "A statement runs a text that is not made of constants: `EXECUTE`, `set_config` or a function that runs a query.",
        effect: "The text may be anything once it runs.",
        way_out: "Write the text as a constant, with `format` and `%I` for the names of tables and their parts, or put `-- slotguard: allow undecidable: REASON` directly before the statement.",
        bad: "DO $$ BEGIN EXECUTE current_setting('app.sql'); END $$;",
        good: "DO $$ BEGIN EXECUTE 'CREATE TABLE a ()'; END $$;",
    }
    UnknownStatement "SG6223" BadData {
        summary: "a kind of statement that is not on the list",
        condition: "A migration has a statement of a kind that is not known to stay within the slot.",
        effect: "What is not known is refused.",
        way_out: "Use another statement, or report this as a gap.",
        bad: "CREATE PROPERTY GRAPH g;",
        good: "CREATE VIEW g AS SELECT 1;",
    }
    UnparsableText "SG6224" BadData {
        summary: "a migration cannot be read",
        condition: "The text does not fit the grammar of PostgreSQL, or is nested too deeply.",
        effect: "A text that cannot be read cannot be screened, and what the server makes of it is a guess.",
        way_out: "Correct the text. If the server accepts it, report this as a gap.",
        bad: "CREATE TABEL a ();",
        good: "CREATE TABLE a ();",
    }
    UnusableExemption "SG6225" BadData {
        summary: "an exemption exempts nothing",
        condition: "A comment `-- slotguard: …` has no reason, is misspelt, or stands before a statement with nothing undecidable in it.",
        effect: "It would exempt something else one day.",
        way_out: "Remove the comment, or write `-- slotguard: allow undecidable: REASON` directly before the statement.",
        bad: "-- slotguard: allow undecidable: just in case<newline>SELECT 1;",
        good: "-- a comment<newline>SELECT 1;",
    }
    DescriptorsOpen "SG7001" Unavailable {
        summary: "inherited descriptors cannot be closed",
        condition: "The kernel refuses `close_range` with close-on-exec (Linux 5.11 or later has it).",
        effect: "The program would inherit open files and sockets of its parent.",
        way_out: "Run on Linux 5.11 or later.",
        bad: "a kernel without close_range",
        good: "Linux 5.11",
    }
    SandboxUnavailable "SG7002" Unavailable {
        summary: "a required kernel sandbox is not available",
        condition: "`[sandbox] require` lists a feature that the running kernel cannot enforce. Without the line, all three are required.",
        effect: "The program would run with less confinement than the policy demands.",
        way_out: "Use a newer kernel, or write down the line that `runtime-wrapper probe` prints.",
        bad: "require = [\"fs\", \"tcp\", \"scope\"] on Linux 6.1",
        good: "require = [\"fs\"] on Linux 6.1",
    }
    ProgramNotRunnable "SG7003" NotRunnable {
        summary: "the program cannot be run",
        condition: "The file exists and is allowed, but the kernel refused to execute it.",
        effect: "Nothing was started.",
        way_out: "Make it executable, and check its interpreter line and architecture.",
        bad: "a text file without an interpreter line",
        good: "an executable file",
    }
    ProgramNotFound "SG7004" NotFound {
        summary: "the program does not exist",
        condition: "An entry of `[programs]` names it, but there is no such file.",
        effect: "Nothing was started.",
        way_out: "Install the program, or correct the path in `[programs]`.",
        bad: "/usr/bin/nodejs99",
        good: "/usr/bin/node",
    }
    SandboxIncomplete "SG7005" Unavailable {
        summary: "a step of the confinement failed",
        condition: "The kernel offers what is required, and still refused a rule, the filter, a limit, or to give up a privilege; most often because 16 sandboxes are already stacked.",
        effect: "The program would run with a part of its confinement missing.",
        way_out: "Start the wrapper outside of other sandboxes; the evidence names the step.",
        bad: "a wrapper within 16 Landlock domains",
        good: "a wrapper within 15",
    }
    ProgramTreeClosed "SG7006" Configuration {
        summary: "the program's installation is outside of what the sandbox opens",
        condition: "The program lies in the `bin` of an installation with a `lib` beside it, and that is neither part of the system nor under `[sandbox] read`.",
        effect: "It would start and then fail to find its own libraries.",
        way_out: "Add the directory of the installation to `[sandbox] read`.",
        bad: "/opt/node/bin/node without read",
        good: "/opt/node/bin/node with read = [\"/opt/node\"]",
    }
    SandboxPath "SG7007" Configuration {
        summary: "a path of `[sandbox]` cannot be opened",
        condition: "A path under `[sandbox] read` or `write` is missing, or leads through a symbolic link.",
        effect: "The rule would open nothing, or something else than what was written and checked.",
        way_out: "Write the path that it leads to, or make the directory.",
        bad: "read = [\"/opt/current\"], a link",
        good: "read = [\"/opt/node-20\"]",
    }
    SiblingMissing "SG7101" Unavailable {
        summary: "a program of this installation is missing",
        condition: "A sibling program is not in the directory of the running one.",
        effect: "One found elsewhere could be anything.",
        way_out: "Install all programs of one version into one directory.",
        bad: "slotguard without migrate-runner beside it",
        good: "all programs in one directory",
    }
    SiblingVersion "SG7102" Unavailable {
        summary: "a program of this installation has another version",
        condition: "A sibling program reports a version other than ours.",
        effect: "The two could disagree on what a proof means.",
        way_out: "Install all programs of one version into one directory.",
        bad: "slotguard 0.1.0 beside migrate-runner 0.2.0",
        good: "the same version of both",
    }
    PortTaken "SG7103" Unavailable {
        summary: "a port of a slot is already taken",
        condition: "Something else listens on a port that the demo needs.",
        effect: "A request meant for the slot's backend would reach that program.",
        way_out: "Stop what listens there and run again.",
        bad: "another server on 127.0.0.1:8101",
        good: "ports 8101 to 8103 free",
    }
    PostgresMissing "SG7104" Unavailable {
        summary: "the Postgres server programs are missing",
        condition: "initdb, postgres or psql was not found in any of the usual places.",
        effect: "There is no real server to run the demo on.",
        way_out: "Install them: apt-get install postgresql",
        bad: "a machine with psql only",
        good: "/usr/lib/postgresql/15/bin",
    }
    DemoStep "SG7105" Unavailable {
        summary: "a step of the demo did not come out as expected",
        condition: "A step failed, or a refusal that had to happen did not.",
        effect: "The demo proves nothing from there on, so it stops.",
        way_out: "Read the output of the step above; everything it started has been stopped.",
        bad: "a migration that fails",
        good: "every step as announced",
    }
    NotASlotUser "SG7201" Notice {
        summary: "the program has more identity than a slot's own user",
        condition: "It runs as root, or with supplementary groups that cannot be given up without root. Capabilities are given up in any case.",
        effect: "Owner and groups open files and sockets that the sandbox does not cover.",
        way_out: "Start the wrapper as a user of the slot's own, without supplementary groups.",
        bad: "runtime-wrapper started as root",
        good: "runtime-wrapper started as slot-1",
    }
    ListenSocketsDropped "SG7202" Notice {
        summary: "inherited sockets are not handed to the program",
        condition: "`LISTEN_FDS` names a descriptor that is not a TCP socket listening on 127.0.0.1 and the slot's own backend port, or `LISTEN_PID` is another process.",
        effect: "The program would serve on a port that is not its slot's.",
        way_out: "Give the socket unit `ListenStream=127.0.0.1:810n` of the slot, and nothing else.",
        bad: "a socket on 127.0.0.1:8102 for preview-1",
        good: "a socket on 127.0.0.1:8101 for preview-1",
    }
    EnvFileInWorktree "SG7203" Notice {
        summary: "a `.env` file in the worktree holds what a preview may not have",
        condition: "`[sandbox] dotenv_in_worktree` is `warn`, and a `.env*` file at the top of the worktree names a database, `PG*`, or a variable that is never passed.",
        effect: "A framework may load it behind the environment's back.",
        way_out: "Remove the lines, or write `dotenv_in_worktree = \"refuse\"` to stop such a start.",
        bad: ".env with DATABASE_URL=…",
        good: ".env with LOG_LEVEL=debug",
    }
    SandboxOff "SG7204" Notice {
        summary: "the kernel sandbox is switched off",
        condition: "`[sandbox] require` is an empty list.",
        effect: "Every file and port that the user may reach, the program may reach.",
        way_out: "Write down the line that `runtime-wrapper probe` prints.",
        bad: "require = []",
        good: "require = [\"fs\", \"tcp\", \"scope\"]",
    }
    ConfigFile "SG8001" Configuration {
        summary: "the configuration file is not safe to read",
        condition: "It is a link, not a regular file, larger than 64 KiB, writable by group or others, owned by neither root nor the caller, or beneath a worktree or repository root.",
        effect: "Whoever can write the file decides what a preview may do.",
        way_out: "Keep it as a regular file of root or the caller, mode 0644 or stricter, outside the roots.",
        bad: "slotguard.toml with mode 0666",
        good: "slotguard.toml with mode 0640",
    }
    ConfigMissing "SG8002" InputMissing {
        summary: "the configuration file does not exist",
        condition: "A file was named by `--config` or `SLOTGUARD_CONFIG` and is not there.",
        effect: "Going on with defaults would ignore what was asked for.",
        way_out: "Correct the path; without the option the defaults of the contract are used.",
        bad: "--config /etc/slotgard.toml",
        good: "--config /etc/slotguard/slotguard.toml",
    }
    ConfigSyntax "SG8003" Configuration {
        summary: "the configuration cannot be read",
        condition: "It is not TOML, holds an unknown key, lacks `version = 1`, or a value has the wrong type.",
        effect: "A key that is misspelt would silently not hold.",
        way_out: "Correct the line; the keys are those of the documentation.",
        bad: "[databse]",
        good: "[database]",
    }
    ConfigValue "SG8004" Configuration {
        summary: "a value of the configuration is not acceptable",
        condition: "A value is of the right type but contradicts the contract or another value.",
        effect: "A rule would be weaker than it looks.",
        way_out: "Correct the value as described.",
        bad: "endpoints = [\"localhost:5432\"]",
        good: "endpoints = [\"127.0.0.1:5432\"]",
    }
    ConfigEnvironment "SG8005" Configuration {
        summary: "the environment contradicts the configuration file",
        condition: "`SLOT_IDS_CSV` is set and is not the list of `[slots] ids`, or a `WORKER_*` template is set and is not the one of `[web]`.",
        effect: "Two parts of the host would believe in different slots, or in different places of one.",
        way_out: "Make the two the same.",
        bad: "SLOT_IDS_CSV=preview-1 with three slots in the file",
        good: "the same list in both",
    }
    WorkerVariable "SG8006" Configuration {
        summary: "a worker variable does not give every slot its own",
        condition: "`WORKER_PREVIEW_WEB_ROOT_TEMPLATE`, `WORKER_SLOT_API_DIRECT_TEMPLATE`, `WORKER_SLOT_PREVIEW_HOST_TEMPLATE` or `WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR` is set, and for some slot it is not a path, address or name of that slot alone.",
        effect: "A worker that follows the variable would serve one slot's files or backend as another's.",
        way_out: "Write the template with {slot}, as the contract has it.",
        bad: "WORKER_SLOT_API_DIRECT_TEMPLATE=http://127.0.0.1:8101",
        good: "WORKER_SLOT_API_DIRECT_TEMPLATE=http://127.0.0.1:810{slot}",
    }
    ArtifactNotWritable "SG8101" ArtifactNotWritable {
        summary: "the artifact of a step cannot be written",
        condition: "`[roots] artifact` is configured, and the step's directory or its file of events cannot be made: the root cannot be made or written, others can write to it, or a component beneath it is a symbolic link or a file.",
        effect: "The step would act, and nobody could read afterwards what it did. Nothing was done.",
        way_out: "Make the root a directory of root or of the caller that only its owner can write to, or leave `[roots] artifact` out.",
        bad: "artifact = \"/etc/hostname\"",
        good: "artifact = \"/var/lib/slotguard/artifacts\"",
    }
    ArtifactIncomplete "SG8102" Notice {
        summary: "the artifact of a step is not complete",
        condition: "An event or the report could not be written after the step had begun: the disk is full, or the directory was removed.",
        effect: "The step ended as it says; what it said on standard output is whole.",
        way_out: "Keep the output of this run, and see to the artifact root before the next one.",
        bad: "a full disk beneath `[roots] artifact`",
        good: "room for the artifacts",
    }
    LeaseHeld "SG8201" Busy {
        summary: "the slot is claimed",
        condition: "Somebody holds the slot, and the command shows no generation or wants to claim it too.",
        effect: "Two workers would act on one slot, each believing that it is its own.",
        way_out: "Wait for it with `slotguard slot claim --wait`, or use another slot. The holder shows its generation by `--lease`.",
        bad: "migrate-runner apply --slot preview-1 … while preview-1 is claimed",
        good: "migrate-runner apply --slot preview-1 --lease 7 … by the holder of generation 7",
    }
    LeaseGeneration "SG8202" Busy {
        summary: "the generation is not the one that holds the slot",
        condition: "`--lease` names a generation that was released, that expired and was freed, or that never was.",
        effect: "A worker that lost its slot would go on acting on it beside the new holder.",
        way_out: "Stop acting on the slot. Claim it again with `slotguard slot claim`, and use the generation that this prints.",
        bad: "slotguard slot renew --slot preview-1 --lease 6 while generation 7 holds it",
        good: "slotguard slot renew --slot preview-1 --lease 7",
    }
    LeaseExpired "SG8203" Busy {
        summary: "the lease has expired",
        condition: "`--lease` names the last holder, and its time is over; the slot was not freed yet.",
        effect: "The slot may be another's at any moment, in the middle of the act.",
        way_out: "Claim the slot again with `slotguard slot claim`, and renew it in time with `slotguard slot renew`.",
        bad: "slotguard slot renew --slot preview-1 --lease 7, a minute after its end",
        good: "the same, a minute before its end",
    }
    LeaseBusy "SG8204" Busy {
        summary: "something is happening to the slot",
        condition: "A claim, a release, a migration or another act on the slot was not done within the time that is waited for it.",
        effect: "A slot would change hands in the middle of an act.",
        way_out: "Try again, or wait longer with `--timeout`. What ended without a word is no longer waited for: the kernel lifts its lock.",
        bad: "slotguard slot release --slot preview-1 --lease 7 during a long migration",
        good: "the same, once the migration is done",
    }
    LeaseStore "SG8205" Unavailable {
        summary: "it cannot be told how a slot is leased",
        condition: "The directory `leases` of the state root cannot be read or written, others can write to it, or a record in it was not written by this program.",
        effect: "A slot that somebody holds would be taken for free.",
        way_out: "See to the directory and its owner. A broken record is removed by hand once nobody uses the slot; its generations then begin anew.",
        bad: "a record that was edited by hand",
        good: "the record as `slotguard slot claim` wrote it",
    }
    LeaseTerm "SG8206" Usage {
        summary: "the time that was asked for is not acceptable",
        condition: "`--for` is not a time such as `90m` or `2h`, or is longer than `[leases] max`.",
        effect: "A slot could be kept from everybody else for good.",
        way_out: "Ask for less and renew the lease in time, or raise `[leases] max`.",
        bad: "slotguard slot claim --slot preview-1 --owner worker-1 --for 90d",
        good: "slotguard slot claim --slot preview-1 --owner worker-1 --for 2h",
    }
    LeaseLabel "SG8207" Usage {
        summary: "the owner or the purpose of a lease cannot be written down",
        condition: "It is empty, longer than 120 characters, not printable ASCII on one line, or looks like a database URL.",
        effect: "It is shown to everybody who meets the lease: it could rewrite a terminal or tell a secret.",
        way_out: "Write a name, a branch or the number of a pull request.",
        bad: "slotguard slot claim --slot preview-1 --owner ''",
        good: "slotguard slot claim --slot preview-1 --owner worker-1 --purpose 'pull request 41'",
    }
    LeaseEndsSoon "SG8208" Notice {
        summary: "the lease ends soon",
        condition: "The lease under which something acts has less than `[leases] warn_before` to go.",
        effect: "After its end nothing is admitted under it, and the slot is freed: its backend stops.",
        way_out: "Renew it with `slotguard slot renew`, or be done in time.",
        bad: "an act ten minutes before the end of the lease",
        good: "an act two hours before it",
    }
    InstallPath "SG8301" Usage {
        summary: "a path cannot stand in a unit or a script",
        condition: "The directory of the programs or of the scripts, or the state root, holds a blank, a `%` or another character that a unit or a shell reads as something else.",
        effect: "A unit would start another program than the one that was meant.",
        way_out: "Install to a path of letters, digits, `.`, `_`, `-` and `/`.",
        bad: "slotguard install --scripts '/srv/my scripts'",
        good: "slotguard install --scripts /srv/my-scripts",
    }
    InstallInTheWay "SG8302" BadData {
        summary: "a file that was not installed is in the way",
        condition: "Where `slotguard install` would write a file there is another one that it did not write.",
        effect: "Somebody's file would be overwritten.",
        way_out: "Move the file away, then install again.",
        bad: "slotguard install over a slot-backend@.service of one's own",
        good: "slotguard install where there is none",
    }
    InstallChanged "SG8303" BadData {
        summary: "an installed file was changed since",
        condition: "A file that `slotguard install` wrote holds something else now; the configuration does not count.",
        effect: "Somebody's change would be lost.",
        way_out: "Put the change into a drop-in or aside and restore the file; or remove the others with `slotguard uninstall --keep-changed`.",
        bad: "slotguard uninstall after an edit of slot-backend@.service",
        good: "slotguard uninstall with the edit in a drop-in",
    }
    NotInstalled "SG8304" InputMissing {
        summary: "nothing is installed there",
        condition: "Beneath the root there is no manifest of an installation.",
        effect: "It cannot be told what to remove.",
        way_out: "Name the root that was installed to with `--root`.",
        bad: "slotguard uninstall --root /tmp",
        good: "slotguard uninstall --root DIR after slotguard install --root DIR",
    }
    InstallManifest "SG8305" BadData {
        summary: "it cannot be told what was installed",
        condition: "The manifest of an installation cannot be read, or was not written by this program.",
        effect: "Files could be removed that were never installed.",
        way_out: "Restore `/etc/slotguard/installed.json`, or remove the files by hand.",
        bad: "an edited manifest",
        good: "the manifest as it was written",
    }
    InstallUnwritable "SG8306" Unavailable {
        summary: "a file of the installation cannot be read, written or removed",
        condition: "The system refuses it, or something that is no regular file stands in its place.",
        effect: "The installation would be half of one.",
        way_out: "See to the file and its directory, then run the command again: it does what is left.",
        bad: "a directory in the place of a script",
        good: "no such directory",
    }
    NetworkRules "SG8307" BadData {
        summary: "the rules for the network are not in force",
        condition: "`slotguard install --nftables` wrote rules for the slots' users, and the kernel does not have them for every slot, or cannot be asked.",
        effect: "A slot's program could connect to another slot's backend, or serve on its port.",
        way_out: "Start `slotguard-nftables.service`; run `slotguard install --nftables` again when the slots have changed. Only root can ask.",
        bad: "slotguard doctor while slotguard-nftables.service is stopped",
        good: "slotguard doctor while it is active",
    }
    RecordMissing "SG8401" InputMissing {
        summary: "the slot has no record",
        condition: "A start from the record was asked for, and no start or publish has written one.",
        effect: "Nobody has said what this slot runs.",
        way_out: "Start it once with `slotguard backend start --slot SLOT --worktree DIR`.",
        bad: "slotguard backend restart --slot preview-1, never started before",
        good: "slotguard backend start --slot preview-1 --worktree /srv/previews/feature-7",
    }
    RecordUnsafe "SG8402" Denied {
        summary: "the slot's record cannot be trusted",
        condition: "It is not a regular file of root or the caller, others can write it, it is too large, is not in the expected form, holds an unknown key, or speaks of another slot.",
        effect: "Whoever wrote it would choose what runs in the slot.",
        way_out: "Find out who changed it, remove it, and start the slot again.",
        bad: "records/preview-1.json with mode 0666",
        good: "the record as `backend start` wrote it",
    }
    RecordSecret "SG8403" Denied {
        summary: "an argument looks like a secret",
        condition: "`backend start` was given an argument that looks like a key, a token or an address with a password.",
        effect: "It would stand in the slot's record and in the list of processes, where others read it.",
        way_out: "Give the program its secret by a file, and name the file.",
        bad: "backend start … -- --token sk_live_…",
        good: "backend start … -- --token-file /etc/preview/token",
    }
    ProgramKey "SG8404" Denied {
        summary: "no program is allowed under this key",
        condition: "The key of `--program`, or of the slot's record, is no entry under `[programs]`.",
        effect: "A program would run that nobody approved.",
        way_out: "Name a key of the configuration, or add the program there.",
        bad: "--program backnd",
        good: "--program backend",
    }
    BackendBusy "SG8405" Busy {
        summary: "another command works on this slot's backend",
        condition: "A start, stop or restart of the same slot did not end within the time that this one waits.",
        effect: "Two commands at once would leave the slot in a state that neither asked for.",
        way_out: "Try again; `slotguard backend status` shows the slot meanwhile.",
        bad: "a stop while another start waits for its backend",
        good: "one after the other",
    }
    BackendDiffers "SG8406" Busy {
        summary: "the slot runs something else",
        condition: "`backend start` names another worktree, program or arguments than those of the backend that runs.",
        effect: "Either the caller would believe its own branch runs, or somebody's preview would vanish.",
        way_out: "Stop the slot first, or use `backend restart` with the new worktree.",
        bad: "backend start --worktree B while A runs",
        good: "backend stop, then backend start --worktree B",
    }
    PortForeign "SG8407" Unavailable {
        summary: "a foreign process listens on the slot's port",
        condition: "The listening socket of the slot's backend port belongs to no process of the slot.",
        effect: "Requests for the preview would be answered by something else, and its health would be taken for the slot's.",
        way_out: "Stop that process: `ss -ltnp` names it.",
        bad: "a left-over development server on 8101",
        good: "only the slot's backend listens on 8101",
    }
    PortUndecidable "SG8408" Unavailable {
        summary: "nobody can tell who listens on the slot's port",
        condition: "Something listens, and the descriptors of the slot's processes cannot be read.",
        effect: "A foreign process could pass for the slot's backend.",
        way_out: "Ask as the user that runs the backend, or as root.",
        bad: "an ordinary user asks for a backend of another user",
        good: "the owner of the backend asks",
    }
    BackendNotListening "SG8409" Unavailable {
        summary: "the backend does not listen on the slot's port",
        condition: "No socket listens on the slot's backend port within the given time.",
        effect: "The preview cannot be used.",
        way_out: "Read the last lines of its log; `SLOT_BACKEND_PORT` says where it has to listen.",
        bad: "a backend that listens on port 3000",
        good: "a backend that listens on 127.0.0.1 and SLOT_BACKEND_PORT",
    }
    BackendUnhealthy "SG8410" Unavailable {
        summary: "the backend is not healthy",
        condition: "The slot's own process listens, and its answer is no success, no HTTP, or does not come in time.",
        effect: "The preview would show errors.",
        way_out: "Read its log; `[backend] health_path` says what is asked.",
        bad: "503 because the database is away",
        good: "200 on the health path",
    }
    BackendEnded "SG8411" Unavailable {
        summary: "the backend has ended",
        condition: "It ended by itself before it was ready, or its unit failed.",
        effect: "The preview cannot be used.",
        way_out: "Read the exit cause and the last lines of its log.",
        bad: "a backend that exits with status 1",
        good: "a backend that serves until it is told to stop",
    }
    BackendLeft "SG8412" Unavailable {
        summary: "something of the slot is left",
        condition: "After the stop, a process of the slot still runs or its port is still listened on.",
        effect: "The next backend could not start, and the old one would go on with the slot's database.",
        way_out: "End what is named, then stop again.",
        bad: "a process in uninterruptible sleep",
        good: "no process of the slot, and the port is free",
    }
    KeeperFailed "SG8413" Unavailable {
        summary: "the backend cannot be kept",
        condition: "The process that keeps a backend could not be started, or did not say how its start ended.",
        effect: "A backend would run that nobody can stop for certain.",
        way_out: "Read the found cause; processes, memory and the state root are what it needs.",
        bad: "a state root that is full",
        good: "a state root that can be written",
    }
    ManagerUnavailable "SG8414" Unavailable {
        summary: "the service manager cannot be asked",
        condition: "`[lifecycle] manager = \"systemd\"`, and `systemctl` is missing, fails, or does not know the slot's unit.",
        effect: "Nobody could tell whether the backend runs.",
        way_out: "Install the units, correct `[systemd] backend_unit`, or use `manager = \"process\"`.",
        bad: "manager = \"systemd\" where no systemd runs",
        good: "manager = \"process\" on a laptop",
    }
    WebRelease "SG8501" Denied {
        summary: "the published release cannot be followed",
        condition: "`current` of the web root is no symbolic link to `releases/<name>`, nothing is published, or the release holds a symbolic link.",
        effect: "Files from outside the release would be served to whoever asks.",
        way_out: "Publish into `releases/<name>` and point `current` at exactly that; a directory without `current` and `releases` is served as it is.",
        bad: "current -> /etc",
        good: "current -> releases/42",
    }
    WebContent "SG8502" BadData {
        summary: "the release cannot be served",
        condition: "The release has no `index.html`, holds a socket, pipe or device, a name that is not UTF-8, a file that cannot be read, or more than 20,000 files, 256 MiB in memory, 256 files above 4 MiB or 16 levels.",
        effect: "A half-built or endless release would be served.",
        way_out: "Build the frontend completely and publish the result only.",
        bad: "a release without index.html",
        good: "a release with index.html",
    }
    WebRootForeign "SG8503" Denied {
        summary: "the release lies in another slot's web root",
        condition: "`--release` names the web root of another slot, or a directory beneath it.",
        effect: "One slot's front would show another slot's branch.",
        way_out: "Leave `--release` out, or name a directory of this slot.",
        bad: "web-surface serve --slot preview-1 --release /srv/web-preview-2",
        good: "web-surface serve --slot preview-1 --release /srv/web-preview-1",
    }
    FrontendPort "SG8504" Unavailable {
        summary: "the frontend port of the slot cannot be used",
        condition: "The system refuses to listen on 127.0.0.1:310n.",
        effect: "No other port is tried: the port says which slot it is.",
        way_out: "Find the program that holds the port, for instance with `ss -ltnp`, and end it if it does not belong there.",
        bad: "a second web-surface for preview-1",
        good: "one web-surface for each slot",
    }
    RequestPath "SG8511" Denied {
        summary: "the path of a request has a second spelling",
        condition: "The raw path holds `.` or `..` as a component, `//`, a backslash, an encoded slash, backslash, dot, percent sign, control or needlessly encoded character, bytes that are not UTF-8, or a first component that only some readers take for `/api`.",
        effect: "The front and the backend could read one request as two different ones.",
        way_out: "Send the path in its plain spelling.",
        bad: "GET /api/../admin",
        good: "GET /api/admin",
    }
    RequestForm "SG8512" Denied {
        summary: "the form of a request is not accepted",
        condition: "The target is a whole URL, an authority or `*`; the method is CONNECT or TRACE; `Transfer-Encoding` is not `chunked`; the body is larger than 100 MiB; or a page is asked for with another method than GET or HEAD.",
        effect: "The front would act as a proxy for whatever the request names, or could be made to disagree with the backend on where a request ends.",
        way_out: "Send the path alone, with a method that fits.",
        bad: "GET http://127.0.0.1:8102/api",
        good: "GET /api",
    }
    RequestHost "SG8513" Denied {
        summary: "the host of a request is not this slot's",
        condition: "`Host` is missing, stands twice, or is none of 127.0.0.1:310n, localhost:310n, preview<n>, and the name of `WORKER_SLOT_PREVIEW_HOST_TEMPLATE`.",
        effect: "A page of another site, or another slot's name, would reach this slot's backend.",
        way_out: "Ask by one of the slot's own names.",
        bad: "Host: preview2 on the front of preview-1",
        good: "Host: preview1",
    }
    RequestUpgrade "SG8514" Denied {
        summary: "an upgrade to WebSocket is not accepted",
        condition: "A request with `Upgrade: websocket` is not GET, has a body, lacks `Sec-WebSocket-Key` or version 13, or its `Origin` is not a page of this slot.",
        effect: "Bytes after the answer would reach the backend unjudged, or a foreign page would talk to it as the user.",
        way_out: "Open the WebSocket from a page of the slot itself.",
        bad: "Origin: https://elsewhere.example",
        good: "Origin: http://localhost:3101",
    }
    BackendUnavailable "SG8521" Unavailable {
        summary: "the slot's backend does not accept connections",
        condition: "Nothing listens on 127.0.0.1:810n; a request without a body was kept for five seconds, one with a body is answered at once.",
        effect: "No other backend is tried.",
        way_out: "Start the slot's backend.",
        bad: "GET /api while the backend is stopped",
        good: "GET /api while the backend restarts",
    }
    BackendFailed "SG8522" Unavailable {
        summary: "the slot's backend did not answer",
        condition: "The backend closed the connection before its answer, answered what is not HTTP, or sent no answer within 60 seconds.",
        effect: "The request is not sent again, because it may have had its effect.",
        way_out: "Look at the backend's own log.",
        bad: "a backend that ends while it answers",
        good: "a backend that answers",
    }
    BackendForeign "SG8523" Denied {
        summary: "the listener on the slot's backend port is not the slot's backend",
        condition: "The socket that listens on 127.0.0.1:810n is held by no process of the backend that was started for the slot; where processes are not shown, by another user than the slot's. A request without a body was kept for five seconds.",
        effect: "A foreign program would be shown as the slot's application, and be sent what people enter.",
        way_out: "Find the process with `slotguard backend health` or `ss -ltnp`, end it, and start the slot's backend with `slotguard backend start`.",
        bad: "a program started by hand that listens on 127.0.0.1:8101 while preview-1 is stopped",
        good: "slotguard backend start --slot preview-1",
    }
    RouteForeign "SG8601" BadData {
        summary: "a proxy leads a slot to something that is not its own",
        condition: "The server of a slot hands requests to another address than its own backend or serves other files, or a server that is no slot's names a slot's port or alias.",
        effect: "One preview would call another preview's backend, or production.",
        way_out: "Write the slots' servers with `slotguard routes render` and keep everything else away from their ports.",
        bad: "proxy_pass http://127.0.0.1:8102; in the server of preview-1",
        good: "proxy_pass http://127.0.0.1:8101;",
    }
    RouteUnknown "SG8602" BadData {
        summary: "a proxy's configuration holds something near a slot that is not made for it",
        condition: "A directive, handler or setting in the server of a slot, or above it, is neither what `slotguard routes render` writes nor known to change no answer.",
        effect: "What is not known could move requests; nothing near a slot is taken for harmless unseen.",
        way_out: "Take it out, or put it into a server that is no slot's.",
        bad: "rewrite ^ /api/admin; in the server of a slot",
        good: "access_log /var/log/nginx/preview.log;",
    }
    RouteMissing "SG8603" BadData {
        summary: "a proxy's configuration lacks something that keeps slots apart",
        condition: "The server of a slot, or a directive of it, is missing or stands twice.",
        effect: "Without it, a host or a path that is not the slot's would be answered.",
        way_out: "Write the slots' servers with `slotguard routes render`.",
        bad: "a server of preview-1 without the refusal of foreign hosts",
        good: "what `slotguard routes render nginx` writes",
    }
    RouteUnverifiable "SG8604" BadData {
        summary: "a proxy's configuration cannot be read",
        condition: "The text is not in the syntax of nginx or not JSON, a name stands twice in an object, or an included file is not shown.",
        effect: "What cannot be read is not taken for harmless.",
        way_out: "For nginx hand over what `nginx -T` prints, for Caddy what `caddy adapt` prints.",
        bad: "nginx.conf with an include",
        good: "the output of `nginx -T`",
    }
    RouteFile "SG8605" InputMissing {
        summary: "the configuration of a proxy is not there",
        condition: "The file of `--nginx-config` or `--caddy-config` is missing, is not a regular file of text, or is larger than 4 MiB.",
        effect: "Nothing was judged.",
        way_out: "Name an existing file, or `-` for standard input.",
        bad: "--nginx-config /etc/nginx/nginx.cnf",
        good: "--nginx-config /etc/nginx/nginx.conf",
    }
    RouteCrossed "SG8621" BadData {
        summary: "a way of a slot leads to another backend than its own",
        condition: "`routes verify --live` asked for the identity by the slot's front or port, and the backend of another slot answered; or the own backend proves itself on its port, but not by the front.",
        effect: "One preview calls another preview's backend.",
        way_out: "Write the slots' servers with `slotguard routes render`, reload the proxy, and ask again.",
        bad: "a proxy on 127.0.0.1:3101 that hands /api to 127.0.0.1:8102",
        good: "a proxy on 127.0.0.1:3101 that hands /api to 127.0.0.1:8101",
    }
    RouteIdentity "SG8622" BadData {
        summary: "an identity on a way of a slot is made with no key of a slot",
        condition: "Something answered the question of `routes verify --live` with a code that the key of no slot's present start makes.",
        effect: "A process of an earlier start, or one that is nobody's, is taken for the backend.",
        way_out: "Look at who listens with `slotguard backend status`, and restart the slot's backend.",
        bad: "a backend that outlived its keeper",
        good: "the backend of the slot's present start",
    }
    RouteUnproven "SG8623" BadData {
        summary: "nobody can tell which backend a front reaches",
        condition: "The backend offers no identity, and what listens on 127.0.0.1:310n is no `web-surface` of this installation for this slot, or its process is not shown to the caller.",
        effect: "What cannot be told is not taken for right.",
        way_out: "Let the backend answer the question of docs/routes.md, or put `web-surface` in front; run the command as root to see the processes.",
        bad: "nginx before a backend without an identity",
        good: "web-surface serve --slot preview-1",
    }
    RouteHost "SG8624" BadData {
        summary: "a front answers to the name of another slot",
        condition: "Asked under another slot's alias, what listens on 127.0.0.1:310n answered with another status than 421.",
        effect: "A request for one slot would be served by another.",
        way_out: "Write the slots' servers with `slotguard routes render`, whose first server refuses foreign names.",
        bad: "Host: preview2 answered with 200 on 127.0.0.1:3101",
        good: "Host: preview2 answered with 421 on 127.0.0.1:3101",
    }
    SidecarOff "SG8701" Configuration {
        summary: "no sidecar is configured",
        condition: "`pg-sidecar` was asked to serve or to say how it stands, and `[sidecar] enabled` is not true.",
        effect: "A sidecar that nobody asked for would listen beside a backend that does not use it.",
        way_out: "Set `[sidecar] enabled = true`.",
        bad: "[sidecar] enabled = false",
        good: "[sidecar] enabled = true",
    }
    SidecarUpstream "SG8702" Configuration {
        summary: "the configuration does not say which server is behind the sidecar",
        condition: "`[database]` does not name exactly one endpoint (a loopback one, unless `tls_ca` under `[database]` or `[sidecar]` names a readable file of certificates), a role and, unless the mode is `peer`, a password file; or the URL of `--database-url-file` has no password.",
        effect: "The sidecar could only guess where sessions belong, or would speak to another host without TLS.",
        way_out: "Name one endpoint such as 127.0.0.1:5432, or `tls_ca` for one elsewhere; `role` and `password_file` under `[database]`.",
        bad: "endpoints = [\"192.0.2.1:5432\"]",
        good: "endpoints = [\"127.0.0.1:5432\"]",
    }
    SidecarListen "SG8703" Unavailable {
        summary: "the sidecar cannot listen",
        condition: "The slot's port is taken, or its directory beneath the state root is not the sidecar's own, or not of mode 0700 or 0750.",
        effect: "A backend would speak to whoever has the port.",
        way_out: "See who has the port (`ss -ltnp`); one sidecar serves a slot. Make the directory 0700, or 0750 with the group of the slot's user.",
        bad: "a second `pg-sidecar serve --slot preview-1`",
        good: "one `pg-sidecar serve` for each slot",
    }
    SidecarAbsent "SG8704" Unavailable {
        summary: "no sidecar of this slot answers",
        condition: "`pg-sidecar status` finds no socket to ask, or nobody answers on it.",
        effect: "There are no counters to show.",
        way_out: "Start `pg-sidecar serve --slot` of this slot.",
        bad: "pg-sidecar status --slot preview-2, which nobody serves",
        good: "pg-sidecar status --slot preview-1, which is served",
    }
    SidecarIdentity "SG8705" Denied {
        summary: "the server behind the sidecar is not the one that was confirmed",
        condition: "The sidecar's own login leads to another server or database than `migrate-runner confirm` saw: another system identifier or object id, or another owner of the socket.",
        effect: "Sessions would reach a database that nobody checked.",
        way_out: "Make `[sidecar] upstream_socket` the directory of the server at `[database] endpoints`.",
        bad: "an upstream_socket of another cluster with the same port",
        good: "the socket directory of the slots' own server",
    }
    WireMalformed "SG8711" Denied {
        summary: "a start-up message cannot be read",
        condition: "Its length is out of bounds, a text has no end, something follows the end, there is no user, or an authentication message has another form.",
        effect: "Two readers of a malformed message can understand two things by it.",
        way_out: "Connect with an ordinary Postgres driver.",
        bad: "a start-up message of 20,000 bytes",
        good: "a start-up message with user and database",
    }
    WireProtocol "SG8712" Denied {
        summary: "this is not the protocol that is spoken here",
        condition: "The first bytes are TLS, HTTP, or ask for another protocol than Postgres 3.",
        effect: "Nothing useful could be answered.",
        way_out: "Connect without TLS (`sslmode=disable`, `sslnegotiation=postgres`) and with protocol 3.0 or 3.2.",
        bad: "GET / HTTP/1.1",
        good: "a Postgres client with sslmode=disable",
    }
    WireDatabase "SG8713" Denied {
        summary: "a session asks for another database than the slot's",
        condition: "The database of the start-up message is not byte for byte the slot's own; without one, the server would take the user's name.",
        effect: "The session would be in a database that is not the slot's.",
        way_out: "Use the `DATABASE_URL` that the slot's backend is given, unchanged.",
        bad: "dbname=app_production at the port of preview-1",
        good: "dbname=app_preview_1 at the port of preview-1",
    }
    WireRole "SG8714" Denied {
        summary: "a session asks for another role than the slot's",
        condition: "The user of the start-up message is not byte for byte the slot's role.",
        effect: "The session would have rights that are not the slot's.",
        way_out: "Use the `DATABASE_URL` that the slot's backend is given, unchanged.",
        bad: "user=postgres at the port of preview-1",
        good: "user=slot_1 at the port of preview-1",
    }
    WireDuplicate "SG8715" Denied {
        summary: "a start-up message names something twice",
        condition: "A key stands twice, in any letter case.",
        effect: "The server takes the last one; a guard that reads the first one would be passed.",
        way_out: "Give each setting once.",
        bad: "database=app_preview_1 and database=app_production in one message",
        good: "database=app_preview_1",
    }
    WireReplication "SG8716" Denied {
        summary: "a session asks for replication",
        condition: "`replication` is sent with any value but false, off, no or 0.",
        effect: "A replication session reads beyond its database.",
        way_out: "Leave `replication` out.",
        bad: "replication=database",
        good: "replication=false",
    }
    WireParameter "SG8717" Denied {
        summary: "a start-up setting is not let through",
        condition: "A client sends a setting that is neither one of the usual ones nor named by `[sidecar] startup_keys`.",
        effect: "A setting that nobody thought of could change what a session is.",
        way_out: "Leave it out, or name it under `[sidecar] startup_keys`.",
        bad: "options=-c search_path=x",
        good: "application_name=x",
    }
    WireLate "SG8718" Denied {
        summary: "a client takes too long to log in",
        condition: "The start of a session is not through within 10 seconds.",
        effect: "Connections that never log in would use up what there is.",
        way_out: "Look for a client that connects and says nothing, such as a port check.",
        bad: "a connection that stays silent",
        good: "a client that logs in at once",
    }
    WireFull "SG8719" Busy {
        summary: "there are as many sessions as there may be",
        condition: "`[sidecar] max_sessions` are open, or more clients than that are logging in.",
        effect: "The server's connections of the other slots and of migrations would be used up.",
        way_out: "Lower the size of the backend's pool, or raise `max_sessions` and `[quotas] connections`.",
        bad: "a pool of 50 with max_sessions = 18",
        good: "a pool of 10 with max_sessions = 18",
    }
    WirePeer "SG8720" Denied {
        summary: "somebody else is on the sidecar's socket",
        condition: "The user of the client on the Unix socket is not the one that the sidecar runs as.",
        effect: "Who may use the socket would use the slot's login.",
        way_out: "Run the client as the sidecar's user, or connect by TCP with the slot's password.",
        bad: "root on the socket of the user slot1",
        good: "slot1 on the socket of the user slot1",
    }
    WirePassword "SG8721" Denied {
        summary: "the password of a session is not this start's",
        condition: "A client on TCP does not have the password that the sidecar made when it started.",
        effect: "Every user of the host can reach the port; the password tells the backend from them.",
        way_out: "Restart the backend, so that it is given the present password.",
        bad: "the password of an earlier start",
        good: "the password in the slot's state directory",
    }
    WireDraining "SG8722" Unavailable {
        summary: "the sidecar is stopping",
        condition: "It was told to stop: new sessions are refused, open ones end after their transaction.",
        effect: "None; this is an orderly end.",
        way_out: "Connect again in a moment.",
        bad: "a session while the sidecar stops",
        good: "the same session after its restart",
    }
    WireUpstream "SG8723" Unavailable {
        summary: "the server does not let the sidecar in",
        condition: "It does not answer, asks for a login that the mode does not have, cannot prove that it knows the password, or is of another protocol than before.",
        effect: "There is no session to hand over; a server that cannot prove itself may be another one.",
        way_out: "See the detail; `migrate-runner confirm` asks the same server.",
        bad: "pg_hba.conf with `md5` for the slot's role",
        good: "pg_hba.conf with `scram-sha-256` for the slot's role",
    }
    WireUnconfirmed "SG8724" Denied {
        summary: "the server is no longer confirmed as the slot's",
        condition: "`migrate-runner confirm` refused, or could not be answered three times in a row.",
        effect: "Sessions could go on in a database that is not the slot's.",
        way_out: "See what `migrate-runner confirm --slot` says; sessions are let in again when it agrees.",
        bad: "a slot's database whose stamp was removed with require_stamp = true",
        good: "a slot's database as `provision` made it",
    }
    SidecarDemanded "SG8725" Unavailable {
        summary: "the sidecar that is demanded does not serve",
        condition: "`[sidecar] enabled` is true, and a program starts for a slot whose sidecar has left no password, does not listen, or has another owner than who listens on its port.",
        effect: "A backend without its sidecar would reach the server itself, or whoever has the port.",
        way_out: "Start `pg-sidecar serve --slot` of this slot, as the unit `slot-pg@` does, and see why it does not serve.",
        bad: "runtime-wrapper exec --slot preview-1 with no sidecar",
        good: "runtime-wrapper exec --slot preview-1 beside `pg-sidecar serve --slot preview-1`",
    }
    WireLease "SG8726" Denied {
        summary: "the slot is no longer held by whoever the client was started for",
        condition: "The lease under which a client was started was released or another's claim came after it, or the slot's lease has expired.",
        effect: "The backend of a former holder would go on working in a database that is somebody else's by now.",
        way_out: "Renew a lease before it ends (`slotguard slot renew`); claim the slot anew and start its backend under the new generation.",
        bad: "a session of generation 4 after `slotguard slot release --lease 4`",
        good: "the same session after `slotguard slot renew --lease 4`",
    }
    SidecarTls "SG8727" Denied {
        summary: "the server does not prove by TLS who it is",
        condition: "With `[sidecar] tls_ca`, or `[database] tls_ca` and none under `[sidecar]`, the server declines TLS, or its certificate is not of that authority, not for `tls_server_name` (or the endpoint's address), or not valid now.",
        effect: "The slot's login would be used, and its data sent, on a connection that somebody else may read or answer.",
        way_out: "Switch `ssl` on at the server; name the authority of its certificate in `tls_ca` and the name in it in `tls_server_name`.",
        bad: "tls_ca of another authority than the server's",
        good: "tls_ca of the server's authority, with a certificate for the endpoint's address",
    }
    FrontendAddress "SG8801" Denied {
        summary: "the built frontend names an address past its own /api",
        condition: "A built file holds a backend port of a slot behind a name of this host or behind `//`, a configured production host, or another slot's preview host. The slot's own backend is allowed in the dev fallback only, source maps are not read.",
        effect: "The page would call another slot or production from every browser that opens it.",
        way_out: "Call relative `/api`, and build again; set the base address of the API to the empty text.",
        bad: "fetch(\"http://127.0.0.1:8102/api/orders\")",
        good: "fetch(\"/api/orders\")",
    }
    FrontendTree "SG8802" Denied {
        summary: "the built frontend holds what cannot be served",
        condition: "A symbolic link, a special file, a name that is not UTF-8, a file that changes or cannot be read, more than 20,000 files or 512 MiB.",
        effect: "A link could serve any file of the host.",
        way_out: "Build plain files and directories into `[frontend] dist`.",
        bad: "dist/config.json, a link to /etc/app/config.json",
        good: "dist/config.json, a file",
    }
    FrontendMissing "SG8803" InputMissing {
        summary: "the built frontend is not there",
        condition: "`[frontend] dist` does not exist in the worktree or has no `index.html`.",
        effect: "An empty release would replace a working one.",
        way_out: "Build the frontend first, or correct `[frontend] dist`.",
        bad: "a worktree without dist/index.html",
        good: "dist/index.html",
    }
    ReleaseNotWritable "SG8804" Unavailable {
        summary: "the release cannot be written",
        condition: "The slot's web root, its `releases` directory or its `current` link cannot be written.",
        effect: "The previous release keeps serving.",
        way_out: "Give the publishing user the web root of the slot; see the path and the reason.",
        bad: "a web root of another user",
        good: "a web root of the publishing user, mode 0755",
    }
    PublishStep "SG8805" Unavailable {
        summary: "a step of a publish failed",
        condition: "A program that a step runs ended with another status than 0 and gave no code of its own, such as a dependency sync or a build of the branch.",
        effect: "The steps after it were not begun; the previous release keeps serving.",
        way_out: "Read the last lines of its output in the report, mend the branch, and publish again.",
        bad: "a package script that ends with 1",
        good: "a package script that ends with 0",
    }
    FrontendNotServed "SG8806" Unavailable {
        summary: "the slot's frontend does not serve the release",
        condition: "After the switch, `/` on the slot's frontend port did not give the release's page within ten seconds.",
        effect: "People would look at another version than the one that was published.",
        way_out: "Start the slot's web surface, or look at what listens on the port; then publish again.",
        bad: "nothing that listens on 127.0.0.1:3101",
        good: "web-surface serve --slot preview-1",
    }
    PublishInterrupted "SG8807" Busy {
        summary: "a publish was interrupted",
        condition: "SIGINT, SIGTERM or SIGHUP came; the flow stopped at the next step's boundary.",
        effect: "What the steps before it did stays; the report says what is new.",
        way_out: "Publish again: steps that have nothing to do say so.",
        bad: "Ctrl-C during the dependency sync",
        good: "a run to the end",
    }
    PublishBusy "SG8808" Busy {
        summary: "another publish works on the slot",
        condition: "The slot's publish lock is held by another process.",
        effect: "Two publishes would mix their frontends, backends and migrations.",
        way_out: "Wait for the other one, then publish again.",
        bad: "two publishes of preview-1 at once",
        good: "publishes of preview-1 and preview-2 at once",
    }
    DeployInPreview "SG8811" Denied {
        summary: "production is not deployed from a preview",
        condition: "`slotguard deploy` sees a variable of a slot (`SLOT_ID`, `SLOT_NUM`, `SLOT_BACKEND_PORT`, `SLOT_DB_NAME`, `SLOT_WORKTREE_PATH`) or of development (`WORKER_SLOT_…`), a `DATABASE_URL` of a slot, a working directory beneath `[roots] worktree` or `[roots] state`, or is a process in a slot's slice.",
        effect: "Code of a branch that was not merged could reload production.",
        way_out: "Run it from the host's own shell or job, outside of worktrees and without a preview's variables.",
        bad: "slotguard deploy in an environment with SLOT_ID",
        good: "slotguard deploy in an environment with DEPLOY_* and the shared variables",
    }
    DeployCommandMissing "SG8812" InputMissing {
        summary: "a command of the deploy is not set",
        condition: "`DEPLOY_BACKEND_RELOAD_CMD` or `DEPLOY_BACKEND_HEALTHCHECK_CMD` is missing or blank.",
        effect: "Nothing was done: without a health check nobody would know whether the reload succeeded.",
        way_out: "Set both variables, each to the path and the arguments of an entry under `[programs]`.",
        bad: "DEPLOY_BACKEND_HEALTHCHECK_CMD=",
        good: "DEPLOY_BACKEND_HEALTHCHECK_CMD=/usr/local/bin/app-health",
    }
    DeployCommandShape "SG8813" Denied {
        summary: "a command of the deploy is not plain words",
        condition: "A command holds a quote, a sign that only a shell understands, a control character, a letter beyond ASCII, or more than 4096 bytes.",
        effect: "No shell reads the command, so the sign would not mean what its author meant.",
        way_out: "Put the work into a script, allow the script under `[programs]`, and name it here.",
        bad: "DEPLOY_BACKEND_RELOAD_CMD=systemctl reload app && curl …",
        good: "DEPLOY_BACKEND_RELOAD_CMD=/usr/bin/systemctl reload app.service",
    }
    DeployReload "SG8814" Unavailable {
        summary: "the reload of production failed",
        condition: "The reload command ended with another status than 0, or not within `[deploy] reload_timeout_s`.",
        effect: "The health check was not begun. What production runs is not known.",
        way_out: "Look at the last lines of the command and at production's backend; mend it, and deploy again.",
        bad: "a reload command that ends with 1",
        good: "a reload command that ends with 0",
    }
    DeployUnhealthy "SG8815" Unavailable {
        summary: "production is not healthy after its reload",
        condition: "No health check ended with 0 within `[deploy] health_attempts` and `health_deadline_s`.",
        effect: "The reloaded backend runs and is not proved. It is not rolled back.",
        way_out: "Look at production's backend and at the last lines of the check; revert the merge and deploy again if it cannot be mended.",
        bad: "a health check that ends with 1 each time",
        good: "a health check that ends with 0 at the third attempt",
    }
    DeployInterrupted "SG8816" Busy {
        summary: "a deploy was interrupted",
        condition: "SIGINT, SIGTERM or SIGHUP came; the command that ran was ended.",
        effect: "The report names the step. After the reload began, what production runs is not proved.",
        way_out: "Deploy again.",
        bad: "Ctrl-C during the health check",
        good: "a run to the end",
    }
    DeployBusy "SG8817" Busy {
        summary: "another deploy runs",
        condition: "The lock of the deploy beneath `[roots] state` is held by another process.",
        effect: "The health check of one would judge the reload of the other.",
        way_out: "Wait for the other one, then deploy again.",
        bad: "two deploys at once",
        good: "one deploy after the other",
    }
    ResetDue "SG8821" Busy {
        summary: "the slot's database still has to be reset",
        condition: "The slot was released or expired, `[release] reset` is configured, and the reset did not happen or did not succeed yet.",
        effect: "The next holder would work with the data of the last one.",
        way_out: "Publish again, or run `slotguard slot reap` or `migrate-runner reset`; each says why a reset fails.",
        bad: "migrate-runner apply after a release, before the reset",
        good: "migrate-runner apply after the reset",
    }
    Internal "SG9001" Internal {
        summary: "a defect of this program",
        condition: "Something that cannot happen did.",
        effect: "The program stops rather than guess.",
        way_out: "Report it with the command and its output.",
        bad: "(none known)",
        good: "(none needed)",
    }
    Usage "SG9002" Usage {
        summary: "the command line cannot be read",
        condition: "An option or argument is unknown, missing or wrong.",
        effect: "Nothing was done.",
        way_out: "See --help.",
        bad: "slotguard explain SG0000",
        good: "slotguard explain SG2101",
    }
    RequestLine "SG9003" BadData {
        summary: "a line of the request stream cannot be read",
        condition: "A line of `check --stdin` is not a JSON object with `id`, `slot`, `url` and `env`, holds an unknown key, or is longer than 1 MiB.",
        effect: "A request that is only half understood could be answered wrongly.",
        way_out: "Send one JSON object a line with these keys only.",
        bad: "{\"slto\":\"preview-1\"}",
        good: "{\"id\":1,\"slot\":\"preview-1\",\"url\":\"postgresql://…\",\"env\":{}}",
    }
    HazardRewrite "SG9011" BadData {
        summary: "production would rewrite a whole table",
        condition: "A pending statement changes a table that was there before in a way that writes every row anew: another type, a default that is computed for each row, `VACUUM FULL`, `CLUSTER`.",
        effect: "Reads and writes of the table wait until the last row is written, and the disk must hold the table twice.",
        way_out: "Add a new column, fill it in small steps and switch over to it.",
        bad: "ALTER TABLE users ALTER COLUMN id TYPE bigint;",
        good: "ALTER TABLE users ADD COLUMN id_new bigint;",
    }
    HazardScan "SG9012" BadData {
        summary: "production would check every row under a strong lock",
        condition: "A pending statement adds a constraint to a table that was there before, and the server must read all of it: `CHECK`, `FOREIGN KEY`, `UNIQUE`, `PRIMARY KEY`, `SET NOT NULL`.",
        effect: "Writes, and for most of these reads too, wait until the last row is read.",
        way_out: "Add the constraint as NOT VALID and validate it in a later migration; make the index of a key concurrently first.",
        bad: "ALTER TABLE users ADD CONSTRAINT positive CHECK (age > 0);",
        good: "ALTER TABLE users ADD CONSTRAINT positive CHECK (age > 0) NOT VALID;",
    }
    HazardIndex "SG9013" BadData {
        summary: "production would wait for an index or a partition",
        condition: "A pending statement builds, rebuilds or drops an index, or detaches a partition, of a table that was there before, and not concurrently.",
        effect: "Writes wait until the index is built; a drop or a detach waits for every reader, and everybody else behind it.",
        way_out: "Do it CONCURRENTLY, in a migration of its own, or say that the table is small: `-- squawk-ignore require-concurrent-index-creation`.",
        bad: "CREATE INDEX users_age ON users (age);",
        good: "CREATE TABLE users (age bigint); CREATE INDEX users_age ON users (age);",
    }
    HazardClients "SG9014" BadData {
        summary: "the release that runs in production would break",
        condition: "A pending statement renames, drops or changes something that was there before and that running code may use.",
        effect: "Between the migration and the new release, queries of the old one fail.",
        way_out: "Add the new form first, release code that needs only the new one, and take the old one away in a later migration.",
        bad: "ALTER TABLE users RENAME COLUMN name TO full_name;",
        good: "ALTER TABLE users ADD COLUMN full_name text;",
    }
    HazardLoss "SG9015" BadData {
        summary: "data of production would be gone",
        condition: "A pending statement drops a table, a column or a schema that was there before, or empties tables that it does not name.",
        effect: "What was in it comes back from a backup only.",
        way_out: "Release code that does not use it, keep a copy, and drop it in a later migration.",
        bad: "ALTER TABLE users DROP COLUMN name;",
        good: "ALTER TABLE users ALTER COLUMN name SET DEFAULT 'nobody';",
    }
    HazardType "SG9016" BadData {
        summary: "a type that is hard to change once production has rows",
        condition: "A pending statement gives a table that was there before a column of a type that grows too small or behaves unexpectedly: `int`, `smallint`, `serial`, `char(n)`, `varchar(n)`, `timestamp`; or makes a domain with a constraint.",
        effect: "The change that it needs one day writes every row anew.",
        way_out: "Take bigint, an identity column, text with a check, or timestamptz.",
        bad: "ALTER TABLE users ADD COLUMN age int;",
        good: "ALTER TABLE users ADD COLUMN age bigint;",
    }
    HazardRerun "SG9017" BadData {
        summary: "a migration that failed half-way could not run again",
        condition: "A pending statement outside of a transaction makes or drops something without `IF [NOT] EXISTS`.",
        effect: "What it did before it failed stays, and the next run fails on that.",
        way_out: "Write IF NOT EXISTS or IF EXISTS, and give a concurrent index a name.",
        bad: "CREATE INDEX CONCURRENTLY users_age ON users (age);",
        good: "CREATE TABLE users (age bigint); CREATE INDEX users_age ON users (age);",
    }
    HazardMeaning "SG9018" BadData {
        summary: "a statement would do something else than it seems to",
        condition: "A pending statement has a name that is cut off, sets a column twice, or adds a value of an enum without saying where.",
        effect: "The server accepts it, and what is there afterwards surprises somebody.",
        way_out: "Shorten the name, set the column once, say BEFORE or AFTER which value.",
        bad: "ALTER TYPE mood ADD VALUE 'calm';",
        good: "ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy';",
    }
    LayoutUnclear "SG9041" BadData {
        summary: "a directory can be read as more than one layout",
        condition: "The names in the directory of `--migrations` belong to different tools, or to one whose files two tools would run differently.",
        effect: "Read as the wrong one, a file that undoes a migration would run as one, or one would be left out.",
        way_out: "Say what it is with `--layout NAME`, or with `[publish] layout` for a publish; keep the files of one tool in a directory.",
        bad: "V1__a.sql beside 20260102030405_b.up.sql",
        good: "the same with --layout flyway, and the other file elsewhere",
    }
    LayoutUnsupported "SG9042" BadData {
        summary: "a part of a layout is not supported",
        condition: "A Flyway directory holds repeatable migrations (`R__`), baselines (`B`), callbacks, placeholders (`${…}`) or sub-directories with migrations, or a `.conf` file with more than `executeInTransaction`.",
        effect: "Left out without a word, the preview would have another schema than production.",
        way_out: "Make a repeatable migration a versioned one, replace placeholders by what they stand for, or remove what is named.",
        bad: "R__views.sql",
        good: "V7__views.sql",
    }
    LayoutMalformed "SG9043" BadData {
        summary: "a migration does not follow its layout",
        condition: "A dbmate file is without `-- migrate:up` or `-- migrate:down`, has them in another order or statements in front; a diesel directory has no `up.sql` or an unreadable `metadata.toml`, a Prisma directory no `migration.sql`; a file beside them belongs to none.",
        effect: "What runs and what only undoes would be a guess.",
        way_out: "Write the file as its tool writes it; the name that is given says which.",
        bad: "a dbmate file without `-- migrate:down`",
        good: "-- migrate:up, statements, -- migrate:down",
    }
    TransactionMixed "SG9051" BadData {
        summary: "a migration mixes statements that need no transaction with others",
        condition: "A file has a statement that the server refuses inside of a transaction, such as `CREATE INDEX CONCURRENTLY`, and others that a transaction would keep together.",
        effect: "The file would run statement by statement, and a failure would leave a part of it that nobody asked for.",
        way_out: "Put the statements into files of their own, or say that a part may stay: `-- slotguard: no-transaction` in front of everything.",
        bad: "DELETE FROM a; CREATE INDEX CONCURRENTLY i ON a (b);",
        good: "CREATE INDEX CONCURRENTLY i ON a (b);",
    }
    TransactionBound "SG9052" BadData {
        summary: "a statement means nothing without a transaction or its session",
        condition: "A file that runs statement by statement has `SET LOCAL`, `SET CONSTRAINTS`, `LOCK`, a temporary object, a cursor or a prepared statement.",
        effect: "It would have no effect, or would be gone when the migration is resumed in another session.",
        way_out: "Use `SET`, which is repeated before each statement; put the rest into a migration that runs in a transaction.",
        bad: "SET LOCAL lock_timeout = '1s'; CREATE INDEX CONCURRENTLY i ON a (b);",
        good: "SET lock_timeout = '1s'; CREATE INDEX CONCURRENTLY i ON a (b);",
    }
    IndexUnnamed "SG9053" BadData {
        summary: "an index that is made concurrently has no name",
        condition: "`CREATE INDEX CONCURRENTLY` leaves the name of the index to the server.",
        effect: "After an interruption nobody could tell which index is this one, and it would be made twice.",
        way_out: "Name the index.",
        bad: "CREATE INDEX CONCURRENTLY ON a (b);",
        good: "CREATE INDEX CONCURRENTLY a_b_idx ON a (b);",
    }
    HalfAppliedChanged "SG9054" BadData {
        summary: "the file of a half-applied migration has changed",
        condition: "A migration that runs statement by statement was interrupted or failed, and its file is another one now, or is gone.",
        effect: "Which of its statements have run would be a guess.",
        way_out: "Restore the file as it ran and apply again, then put the change into a new migration; or take a fresh database with `migrate-runner reset`.",
        bad: "V2__index.sql edited after its second statement failed",
        good: "V2__index.sql as it was, applied again",
    }
    HalfApplied "SG9055" BadData {
        summary: "a migration is half applied",
        condition: "`adopt --migrations` meets a database in which a migration that runs statement by statement has not come to its end.",
        effect: "It would be recorded as applied although a part of it is missing.",
        way_out: "Run `migrate-runner apply`, which goes on from there; then adopt.",
        bad: "adopt after an interrupted apply",
        good: "apply to the end",
    }
    ProgressUnreadable "SG9056" BadData {
        summary: "how far a migration came cannot be read",
        condition: "The table `slotguard_migration_progress` is not the slot's own plain table, has rows that are not ours, or speaks of a version that is recorded as applied.",
        effect: "A statement would run twice, or never.",
        way_out: "Find out who writes that table; take a fresh database with `migrate-runner reset`.",
        bad: "a row that somebody else wrote",
        good: "the table as migrate-runner writes it",
    }
    StatementFailed "SG9057" BadData {
        summary: "a statement failed, and the ones before it stay",
        condition: "The server refused a statement of a migration that runs statement by statement.",
        effect: "The migration is half applied; an index that was being built may be left invalid, and is named.",
        way_out: "Remove the cause and apply again: invalid indexes are dropped and the migration goes on at this statement. To change the file itself, take a fresh database with `migrate-runner reset`.",
        bad: "CREATE UNIQUE INDEX CONCURRENTLY over values that stand twice",
        good: "the same once the values differ",
    }
}

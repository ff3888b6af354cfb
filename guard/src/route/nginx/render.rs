//! The configuration of nginx for every slot, as content of its `http` block.
//!
//! nginx matches a decoded path and forwards the raw one. The raw one is therefore refused first
//! where it has a second spelling, so that both are the same.

use std::fmt::Write as _;

use super::super::front::{CLEARED, Front};

/// Returns the configuration, to be included in the `http` block.
#[must_use]
pub fn render(fronts: &[Front]) -> String {
    let mut text = HEAD.to_owned();
    for front in fronts {
        text.push_str(&server(front));
    }
    text
}

const HEAD: &str = r#"# Made by `slotguard routes render nginx`, for the http block.

map $http_upgrade $slotguard_upgrade {
    default "";
    websocket websocket;
}
map $http_upgrade $slotguard_connection {
    default "";
    websocket upgrade;
}
# A raw path with a second spelling.
map $request_uri $slotguard_path_refused {
    default 0;
    "~^[^/]" 1;
    "~^[^?]*[^!-~]" 1;
    "~^[^?]*//" 1;
    "~^[^?]*\x5c" 1;
    "~^[^?]*/[.][.]?(?:[/;%?]|$)" 1;
    "~*^[^?]*%(?:[01][0-9a-f]|7[ef]|2[5def]|5[cf]|3[0-9]|[46][1-9a-f]|[57][0-9a])" 1;
    "~*^(?!(?:[^%?]|%[2-7][0-9a-f]|%(?:c[2-9a-f]|d[0-9a-f])%[89ab][0-9a-f]|%e[0-9a-f](?:%[89ab][0-9a-f]){2}|%f[0-4](?:%[89ab][0-9a-f]){3})*(?:[?]|$))" 1;
    "~*^/api[;%]" 1;
    "~^/(?!api)[Aa][Pp][Ii](?:[/?]|$)" 1;
}
# A target that is a whole URL, an authority or `*`.
map $request $slotguard_form_refused {
    default 0;
    "~^[^ ]+ [^/]" 1;
}
# The page of an application with routes of its own.
map "$uri|$http_accept" $slotguard_page {
    default "";
    "~^[^|]*/[^|/.]*[|].*text/html" /index.html;
}
"#;

fn server(front: &Front) -> String {
    let (slot, number) = (front.slot(), front.slot().number());
    let (address, upstream, release) = (front.address(), front.upstream(), front.release());
    let mut hosts = String::new();
    for host in front.hosts() {
        // Writing to a text cannot fail.
        let _ = writeln!(hosts, "    \"{host}\" 1;");
    }
    let pages = front.hosts_pattern();
    let mut cleared = String::new();
    for name in CLEARED {
        let _ = writeln!(cleared, "        proxy_set_header {name} \"\";");
    }
    let api = format!(
        r#"        proxy_pass http://{upstream};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $slotguard_upgrade;
        proxy_set_header Connection $slotguard_connection;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto http;
        proxy_set_header X-Slot-Id {slot};
        proxy_set_header TE "";
{cleared}        proxy_buffering off;
        proxy_request_buffering off;
        proxy_redirect off;
        proxy_next_upstream off;
        proxy_connect_timeout 1s;
        proxy_read_timeout 600s;
        proxy_send_timeout 600s;
        proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset;
        proxy_hide_header X-Accel-Redirect;
        proxy_hide_header X-Sendfile;
        proxy_hide_header X-Slot-Id;
        proxy_hide_header Alt-Svc;
        add_header X-Slot-Id {slot} always;
"#
    );
    format!(
        r#"
# {slot}
map $http_host $slotguard_{number}_host {{
    default 0;
{hosts}}}
map "$slotguard_upgrade|$request_method|$http_origin|$content_length|$http_transfer_encoding|$http_sec_websocket_version|$http_sec_websocket_key" $slotguard_{number}_upgrade_refused {{
    default 1;
    "~^[|]" 0;
    "~*^websocket[|]GET[|](?:https?://(?:{pages}))?[|][|][|]13[|].+$" 0;
}}
server {{
    listen {address} default_server;
    if ($slotguard_form_refused) {{
        return 400;
    }}
    if ($slotguard_path_refused) {{
        return 400;
    }}
    if ($slotguard_{number}_host = 0) {{
        return 421;
    }}
    if ($slotguard_{number}_upgrade_refused) {{
        return 403;
    }}
    client_max_body_size 100m;
    client_header_timeout 30s;
    large_client_header_buffers 4 32k;
    root {release};
    disable_symlinks on from=$document_root;
    location = /api {{
{api}    }}
    location ^~ /api/ {{
{api}    }}
    location ~ /[.] {{
        return 404;
    }}
    location / {{
        if ($request_method !~ "^(?:GET|HEAD)$") {{
            return 405;
        }}
        try_files $uri $uri/index.html $slotguard_page =404;
        add_header X-Slot-Id {slot} always;
        add_header X-Content-Type-Options nosniff always;
        add_header Cache-Control no-cache;
    }}
}}
"#
    )
}

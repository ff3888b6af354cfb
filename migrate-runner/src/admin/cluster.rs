//! What a live cluster is like, read by its superuser from system catalogs only.

use guard::admin::AdminTarget;
use guard::diagnostic::Denial;
use guard::provision::{ClusterFacts, ContentFacts, Wanted};
use guard::stamp::TABLE;

use super::session::{AdminSession, Authority};
use crate::history::LEDGER;
use crate::live::table_column;
use crate::sql;

/// Reads everything that is compared with what is wanted.
///
/// # Errors
/// Refuses with what the server says.
pub(super) async fn read(
    target: &AdminTarget,
    session: &AdminSession,
    wanted: &Wanted,
) -> Result<ClusterFacts, Denial> {
    let mut facts = read_shared(session).await?;
    for slot in &wanted.slots {
        let is_open = |name: &str| {
            facts.database(name).is_some_and(|d| d.allow_connections && d.connection_limit != -2)
        };
        if is_open(&slot.database) {
            let inside = AdminSession::open(target, &slot.database, Authority::Superuser).await?;
            facts.contents.push(inside.ask::<ContentFacts>(&content(&slot.database)).await?);
        }
    }
    Ok(facts)
}

/// Reads what the cluster's databases share.
///
/// # Errors
/// Refuses with what the server says.
pub(super) async fn read_shared(session: &AdminSession) -> Result<ClusterFacts, Denial> {
    session.ask(&shared(session.server().version)).await
}

/// One JSON object over the shared catalogs.
fn shared(version: u32) -> String {
    let reserved = if version >= 160_000 {
        "current_setting('superuser_reserved_connections')::int4 \
         + current_setting('reserved_connections')::int4"
    } else {
        "current_setting('superuser_reserved_connections')::int4"
    };
    format!(
        "SELECT json_build_object(\
         'server', json_build_object(\
             'version', {version}, \
             'system_identifier', (SELECT system_identifier FROM pg_control_system()), \
             'in_recovery', pg_is_in_recovery(), \
             'max_connections', current_setting('max_connections')::int4, \
             'reserved_connections', {reserved}, \
             'max_prepared_transactions', \
                 current_setting('max_prepared_transactions')::int4, \
             'user', current_user, \
             'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)), \
         'roles', {ROLES}, 'databases', {DATABASES}, 'owned', {OWNED}, \
         'other_grants', {OTHER_GRANTS}, 'replication', {REPLICATION}, 'hba', {HBA})"
    )
}

const ROLES: &str = "(SELECT coalesce(json_agg(json_build_object(\
     'name', r.rolname, 'login', r.rolcanlogin, \
     'attributes', array_remove(ARRAY[\
         CASE WHEN r.rolsuper THEN 'SUPERUSER' END, \
         CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, \
         CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, \
         CASE WHEN r.rolreplication THEN 'REPLICATION' END, \
         CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL), \
     'connection_limit', r.rolconnlimit, \
     'has_password', r.rolpassword IS NOT NULL, \
     'member_of', (SELECT coalesce(json_agg(json_build_object(\
         'role', pg_get_userbyid(m.roleid), 'admin', m.admin_option)), '[]') \
         FROM pg_auth_members m WHERE m.member = r.oid), \
     'settings', (SELECT coalesce(json_agg(json_build_object(\
         'database', d.datname, 'name', split_part(one, '=', 1), \
         'value', substr(one, strpos(one, '=') + 1))), '[]') \
         FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) one \
         LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = r.oid)) \
     ORDER BY r.rolname), '[]') FROM pg_authid r)";

/// Sizes are asked of the slots' databases only: of a large one it takes a while.
const DATABASES: &str = "(SELECT json_agg(json_build_object(\
     'oid', d.oid::int8, 'name', d.datname, 'owner', pg_get_userbyid(d.datdba), \
     'allow_connections', d.datallowconn, 'is_template', d.datistemplate, \
     'connection_limit', d.datconnlimit, \
     'comment', shobj_description(d.oid, 'pg_database'), \
     'size', CASE WHEN starts_with(d.datname, 'app_preview_') \
         THEN pg_database_size(d.oid) ELSE 0 END, \
     'grants', (SELECT coalesce(json_agg(json_build_object(\
         'grantee', CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END, \
         'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]') \
         FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a)) \
     ORDER BY d.datname) FROM pg_database d)";

const OWNED: &str = "(SELECT coalesce(json_agg(o), '[]') FROM (\
     SELECT pg_get_userbyid(s.refobjid) AS role, d.datname AS database, count(*) AS objects \
     FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
     WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' GROUP BY 1, 2) o)";

/// Server settings, tablespaces, and what the slots' roles were given in the shared catalogs.
const OTHER_GRANTS: &str = "(SELECT coalesce(json_agg(json_build_array(\
     CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee) END, g.what)), '[]') \
     FROM (SELECT a.grantee, a.privilege_type || ' on parameter ' || p.parname AS what \
         FROM pg_parameter_acl p CROSS JOIN aclexplode(p.paracl) a \
         UNION ALL SELECT a.grantee, a.privilege_type || ' on tablespace ' || t.spcname \
         FROM pg_tablespace t CROSS JOIN aclexplode(t.spcacl) a) g)";

const REPLICATION: &str = "(SELECT coalesce(json_agg(json_build_array(x.database, x.what)), '[]') \
     FROM (SELECT d.datname AS database, 'subscription ' || s.subname AS what \
         FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         UNION ALL SELECT database, 'replication slot ' || slot_name \
         FROM pg_replication_slots WHERE database IS NOT NULL) x)";

const HBA: &str = "(SELECT coalesce(json_agg(json_build_object(\
     'line', h.line_number, 'kind', h.type, 'databases', h.database, 'users', h.user_name, \
     'method', h.auth_method) ORDER BY h.line_number), '[]') \
     FROM pg_hba_file_rules h WHERE h.error IS NULL)";

/// One JSON object over the catalogs of one database.
fn content(database: &str) -> String {
    format!(
        "SELECT json_build_object('database', {}, \
         'untrusted_extensions', (SELECT coalesce(json_agg(e.extname), '[]') FROM pg_extension e \
             WHERE NOT EXISTS (SELECT FROM pg_available_extension_versions v \
                 WHERE v.name = e.extname AND v.version = e.extversion AND v.trusted)), \
         'untrusted_languages', (SELECT coalesce(json_agg(l.lanname), '[]') FROM pg_language l \
             WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c')), \
         'foreign', (SELECT coalesce(json_agg(f.what), '[]') FROM (\
             SELECT 'wrapper ' || fdwname AS what FROM pg_foreign_data_wrapper \
             UNION ALL SELECT 'server ' || srvname FROM pg_foreign_server \
             UNION ALL SELECT 'user mapping on ' || srvname FROM pg_user_mappings) f), \
         'publications', (SELECT coalesce(json_agg(pubname), '[]') FROM pg_publication), \
         'event_triggers', (SELECT coalesce(json_agg(evtname), '[]') FROM pg_event_trigger), \
         'superuser_definers', (SELECT coalesce(json_agg(p.proname), '[]') FROM pg_proc p \
             JOIN pg_roles r ON r.oid = p.proowner AND r.rolsuper \
             WHERE p.prosecdef AND NOT EXISTS (SELECT FROM pg_depend x \
                 WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid \
                 AND x.deptype = 'e')), \
         'opened_functions', (SELECT coalesce(json_agg(DISTINCT p.proname), '[]') \
             FROM pg_proc p JOIN pg_init_privs i \
                 ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid \
             CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a \
             WHERE a.grantee <> p.proowner AND NOT EXISTS (\
                 SELECT FROM aclexplode(i.initprivs) b WHERE b.grantee = a.grantee)), \
         'table_owners', (SELECT coalesce(json_agg(DISTINCT pg_get_userbyid(c.relowner)), '[]') \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
             AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_') \
             AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass \
                 AND x.objid = c.oid AND x.deptype = 'e')), \
         'public_owner', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace \
             WHERE nspname = 'public'), \
         'stamp_table', {}, 'ledger', {})",
        sql::text(database),
        table_column(TABLE),
        table_column(LEDGER),
    )
}

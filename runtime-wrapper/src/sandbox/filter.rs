//! The filter of system calls: what Landlock does not see.
//!
//! Everything is allowed but what is listed. Rules on TCP ports are passed by in other protocols
//! (MPTCP, SCTP, SMC), by a connection that is opened with its first data (`MSG_FASTOPEN`), by
//! `io_uring`, and in another system-call table. A filter cannot look at a port: `listen` on a
//! socket that was never bound takes an ephemeral one, and stays possible.

use std::collections::BTreeMap;

use guard::sandbox::{Demand, Udp, UnixSockets};
use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filter on this process, for good.
///
/// # Errors
/// Returns why the kernel or the compiler of the filter refused.
pub(super) fn install(demand: &Demand) -> Result<(), Error> {
    seccompiler::apply_filter(&compile(demand)?)
}

/// One filter, because the kernel checks and translates each one anew.
fn compile(demand: &Demand) -> Result<BpfProgram, BackendError> {
    let mut rules = refused()?;
    rules.insert(libc::SYS_socket, sockets(demand)?);
    rules.insert(libc::SYS_socketpair, pairs(demand)?);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    let compiled = BpfProgram::try_from(filter)?;
    Ok(absent().into_iter().chain(compiled).collect())
}

/// Calls that programs do without when a kernel does not have them. `clone3` keeps its flags in
/// memory, where a filter cannot see whether they ask for a namespace.
const ABSENT: [i64; 4] = [
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// On x86-64 there is a second table, x32, under the same architecture: the same calls with this bit
/// in their numbers. Elsewhere no number is as high.
const OTHER_TABLE: u32 = 0x4000_0000;

/// Answers what a kernel may lack as one that lacks it does.
///
/// These steps stand in front of what the library compiles, which has one answer for all calls, knows
/// no second table, and kills a program that was built for another architecture.
fn absent() -> Vec<sock_filter> {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, at offset 0
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut steps = vec![step(LOAD_NUMBER, 0, 0, 0)];
    // Each comparison that holds jumps over those behind it, to the answer.
    for (index, call) in ABSENT.into_iter().enumerate() {
        let behind = (ABSENT.len() - index) as u8;
        steps.push(step(JUMP_IF_EQUAL, behind, 0, call as u32));
    }
    steps.push(step(JUMP_IF_AT_LEAST, 0, 1, OTHER_TABLE));
    steps.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()));
    steps
}

fn always(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Calls that no backend needs and that reach other processes, keys, mounts or the kernel.
const REFUSED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

fn refused() -> Result<Rules, BackendError> {
    const NAMESPACES: [libc::c_int; 7] = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    // Puts text into the terminal that the wrapper was started from.
    const TERMINAL: [u64; 2] = [libc::TIOCSTI, 0x541c];
    // Lets TCP be carried by another protocol, without a new socket.
    const TCP_ULP: libc::c_int = 31;
    const AS_IT_IS: u64 = 0xffff_ffff;
    let fast_open = |argument| Ok(vec![rule(&[bit(argument, libc::MSG_FASTOPEN)?])?]);
    let mut rules = always(REFUSED);
    let namespaces: Result<Vec<SeccompRule>, BackendError> =
        NAMESPACES.iter().map(|flag| rule(&[bit(0, *flag)?])).collect();
    rules.insert(libc::SYS_clone, namespaces?);
    let terminal: Result<Vec<SeccompRule>, BackendError> =
        TERMINAL.iter().map(|request| rule(&[word(1, Eq, *request)?])).collect();
    rules.insert(libc::SYS_ioctl, terminal?);
    rules.insert(libc::SYS_sendto, fast_open(3)?);
    rules.insert(libc::SYS_sendmsg, fast_open(2)?);
    rules.insert(libc::SYS_sendmmsg, fast_open(3)?);
    let carried = [is(1, libc::IPPROTO_TCP)?, is(2, TCP_ULP)?];
    rules.insert(libc::SYS_setsockopt, vec![rule(&carried)?]);
    let personality = [word(0, Ne, 0)?, word(0, Ne, AS_IT_IS)?];
    rules.insert(libc::SYS_personality, vec![rule(&personality)?]);
    Ok(rules)
}

/// Refuses every socket but TCP, questions about the network's interfaces, and what the policy adds.
fn sockets(demand: &Demand) -> Result<Vec<SeccompRule>, BackendError> {
    let unix = demand.unix_sockets != UnixSockets::Deny;
    let mut families = vec![not(0, AF_INET)?, not(0, AF_INET6)?, not(0, AF_NETLINK)?];
    if unix {
        families.push(not(0, AF_UNIX)?);
    }
    let mut rules =
        vec![rule(&families)?, rule(&[is(0, AF_NETLINK)?, not(2, libc::NETLINK_ROUTE)?])?];
    // Raw sockets and what else there is; the list of types ends at 10.
    for other in (0..=10).filter(|kind| ![SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET].contains(kind)) {
        rules.push(rule(&[not(0, AF_NETLINK)?, kind(other)?])?);
    }
    for family in [AF_INET, AF_INET6] {
        let stream = [is(0, family)?, kind(SOCK_STREAM)?, not(2, 0)?, not(2, libc::IPPROTO_TCP)?];
        rules.push(rule(&stream)?);
        rules.push(rule(&[is(0, family)?, kind(SOCK_SEQPACKET)?])?);
        let mut datagram = vec![is(0, family)?, kind(SOCK_DGRAM)?];
        if demand.udp == Udp::Allow {
            datagram.extend([not(2, 0)?, not(2, libc::IPPROTO_UDP)?]);
        }
        rules.push(rule(&datagram)?);
    }
    if demand.unix_sockets == UnixSockets::Notify {
        for connected in [SOCK_STREAM, SOCK_SEQPACKET] {
            rules.push(rule(&[is(0, AF_UNIX)?, kind(connected)?])?);
        }
    }
    Ok(rules)
}

/// A pair of datagram sockets can still send to any path, so it is a Unix socket like others.
fn pairs(demand: &Demand) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = vec![rule(&[not(0, AF_UNIX)?])?];
    if demand.unix_sockets == UnixSockets::Deny {
        rules.push(rule(&[kind(SOCK_DGRAM)?])?);
    }
    Ok(rules)
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

/// A condition on the low half of an argument, which is all that the kernel reads of an `int`.
fn word(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn is(argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    word(argument, Eq, u64::from(value.unsigned_abs()))
}

fn not(argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    word(argument, Ne, u64::from(value.unsigned_abs()))
}

fn bit(argument: u8, flag: libc::c_int) -> Result<SeccompCondition, BackendError> {
    let flag = u64::from(flag.unsigned_abs());
    word(argument, MaskedEq(flag), flag)
}

/// The kind of a socket, without the flags that come in the same argument.
fn kind(value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    const KIND: u64 = 0xf;
    word(1, MaskedEq(KIND), u64::from(value.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(unix_sockets: UnixSockets, udp: Udp) -> Demand {
        Demand {
            features: vec![],
            bind_tcp: vec![],
            connect_tcp: vec![],
            unix_sockets,
            udp,
            files: vec![],
        }
    }

    /// What the steps in front answer to a call; `None` when they leave it to the rest.
    fn answer(number: u32) -> Option<u32> {
        let steps = absent();
        let mut at = 1;
        while let Some(step) = steps.get(at) {
            let holds = match step.code {
                0x15 => number == step.k,
                0x35 => number >= step.k,
                _ => return Some(step.k),
            };
            at += 1 + usize::from(if holds { step.jt } else { step.jf });
        }
        None
    }

    #[test]
    fn the_steps_in_front_answer_absent_calls_and_the_other_table_only() {
        let absent = Some(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
        for call in ABSENT {
            assert_eq!(answer(call as u32), absent, "{call}");
            assert_eq!(answer(call as u32 + 100), None, "{call}");
        }
        for call in [libc::SYS_socket, libc::SYS_execve, libc::SYS_clone] {
            assert_eq!(answer(call as u32), None, "{call}");
            assert_eq!(answer(call as u32 | OTHER_TABLE), absent, "{call}");
        }
    }

    #[test]
    fn every_policy_compiles_to_what_the_kernel_takes() {
        const MOST: usize = 4096;
        for unix in [UnixSockets::Deny, UnixSockets::Notify, UnixSockets::Allow] {
            for udp in [Udp::Deny, Udp::Allow] {
                let program = compile(&demand(unix, udp)).unwrap();
                assert!(program.len() < MOST, "{}", program.len());
            }
        }
    }
}

//! `probe`: what the running kernel can enforce.

use guard::sandbox::{Kernel, KernelFeature, SandboxFeature};
use serde::Serialize;
use step_report::console::{Console, Format};

#[derive(Serialize)]
struct Probe {
    schema: &'static str,
    landlock: Option<u32>,
    filter: bool,
    features: Vec<Probed>,
    enforceable: Vec<SandboxFeature>,
    line: String,
}

#[derive(Serialize)]
struct Probed {
    #[serde(flatten)]
    feature: &'static KernelFeature,
    available: bool,
}

/// Shows what a kernel offers and the line that fits it.
pub(crate) fn show(console: &Console, kernel: Kernel) {
    let probed = |feature| Probed { feature, available: kernel.has(feature) };
    let probe = Probe {
        schema: "slotguard.kernel/1",
        landlock: kernel.landlock,
        filter: kernel.seccomp,
        features: Kernel::features().iter().map(probed).collect(),
        enforceable: kernel.enforceable(),
        line: kernel.fitting_line(),
    };
    match console.format() {
        Format::Json => console.object(&probe),
        Format::Human => tell(console, &probe),
    }
}

fn tell(console: &Console, probe: &Probe) {
    let has = |available| if available { "yes" } else { "no " };
    let version = probe.landlock.map(|version| format!("version {version}"));
    console.line(&format!("Landlock: {}", version.as_deref().unwrap_or("none, or switched off")));
    console.line(&format!("{}  filters of system calls", has(probe.filter)));
    for Probed { feature, available } in &probe.features {
        let needed = feature.needed_for.map_or(String::new(), |f| format!(" [\"{f}\"]"));
        console.line(&format!(
            "{}  {}{needed}, since Linux {}",
            has(*available),
            feature.name,
            feature.linux
        ));
        if !available {
            console.line(&format!("     without: {}", feature.without));
        }
    }
    console.line("The line that demands all of it:");
    console.line("  [sandbox]");
    console.line(&format!("  {}", probe.line));
}

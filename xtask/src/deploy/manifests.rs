//! The manifests and the chart, against the schemas of Kubernetes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Claim, sources, tools};
use crate::{command, workspace};

/// Versions of Kubernetes that everything is checked against: the oldest that the chart allows, and a recent one.
const KUBERNETES: [&str; 2] = ["1.25", "1.35"];

/// Kinds that Kubernetes itself does not have; their schemas are others'.
const FOREIGN: [&str; 1] = ["ServiceMonitor"];

/// Every kustomization, and the chart as it is and with everything switched on.
pub(super) fn claims() -> Result<Vec<Claim>> {
    let place = workspace::target().join("manifests");
    fs::create_dir_all(&place).with_context(|| format!("could not create {}", place.display()))?;
    let mut claims = Vec::new();
    for (name, rendered) in rendered()? {
        for version in KUBERNETES {
            let held = rendered.as_ref().map_or_else(
                |error| Err(anyhow::anyhow!("{error:#}")),
                |text| validate(&place, &name, text, version),
            );
            claims.push(Claim {
                what: format!("{name} is valid for Kubernetes {version}"),
                held,
            });
        }
    }
    claims.push(Claim {
        what: "an unknown field is not valid".to_owned(),
        held: refuses(&place, "hostNetwork:", "hostNetwrok:"),
    });
    claims.push(Claim {
        what: "an unknown value of the chart is refused".to_owned(),
        held: match chart(&["--set", "imag.tag=1"]) {
            Ok(_) => Err(anyhow::anyhow!("it was rendered with `imag.tag`")),
            Err(error) if format!("{error:#}").contains("imag") => Ok(()),
            Err(error) => Err(error),
        },
    });
    claims.push(Claim {
        what: "manifests and chart ask for the same rights".to_owned(),
        held: same_rights(),
    });
    claims.push(Claim {
        what: "agents may read EndpointSlices where they are told to, and otherwise nothing"
            .to_owned(),
        held: only_endpoint_slices(),
    });
    Ok(claims)
}

/// Everything that is shipped, rendered.
fn rendered() -> Result<Vec<(String, Result<String>)>> {
    let kubernetes = sources().join("kubernetes");
    let overlays = kubernetes.join("overlays");
    let mut all = vec![("base".to_owned(), kustomize(&kubernetes.join("base")))];
    let listed = fs::read_dir(&overlays)
        .with_context(|| format!("could not list {}", overlays.display()))?;
    let mut paths: Vec<PathBuf> = listed
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        all.push((format!("overlay {name}"), kustomize(&path)));
    }
    all.push(("the chart".to_owned(), chart(&[])));
    let everything = [
        "--set",
        "serviceMonitor.enabled=true,seccompProfile.type=Localhost,seccompProfile.localhostProfile=p.json,\
         discovery.namespaces={socks,proxies}",
    ];
    all.push(("the chart with everything".to_owned(), chart(&everything)));
    Ok(all)
}

fn kustomize(directory: &Path) -> Result<String> {
    command::output(
        Command::new(tools::kubectl()?)
            .arg("kustomize")
            .arg(directory),
    )
}

fn chart(arguments: &[&str]) -> Result<String> {
    command::output(
        Command::new(tools::helm()?)
            .args(["template", "relays"])
            .arg(sources().join("chart"))
            .args(["--namespace", "redirector"])
            .args(arguments),
    )
}

fn validate(place: &Path, name: &str, text: &str, version: &str) -> Result<()> {
    let documents: Vec<&str> = text
        .split("\n---\n")
        .filter(|document| {
            let kind = document
                .lines()
                .find_map(|line| line.strip_prefix("kind: "));
            kind.is_some_and(|kind| !FOREIGN.contains(&kind.trim()))
        })
        .collect();
    ensure!(!documents.is_empty(), "{name} holds nothing");
    let file = place.join(format!("{}.yaml", name.replace(' ', "-")));
    fs::write(&file, documents.join("\n---\n"))
        .with_context(|| format!("could not write {}", file.display()))?;
    command::output(
        Command::new(tools::kubernetes_validate()?)
            .args(["--strict", "--quiet", "-k", version])
            .arg(&file),
    )
    .map(drop)
}

/// With a mistake in it the base must not be valid.
fn refuses(place: &Path, right: &str, wrong: &str) -> Result<()> {
    let text = kustomize(&sources().join("kubernetes/base"))?;
    ensure!(text.contains(right), "the base has no {right}");
    match validate(
        place,
        "a mistake",
        &text.replace(right, wrong),
        KUBERNETES[1],
    ) {
        Ok(()) => bail!("{wrong} is taken for valid"),
        Err(_) => Ok(()),
    }
}

fn same_rights() -> Result<()> {
    let manifest = capabilities(&kustomize(&sources().join("kubernetes/base"))?);
    let chart = capabilities(&chart(&[])?);
    ensure!(
        manifest == chart && !manifest.is_empty(),
        "the manifests ask for {manifest:?}, the chart for {chart:?}"
    );
    Ok(())
}

/// Roles and tokens are there where something is to be discovered, and nothing else is.
fn only_endpoint_slices() -> Result<()> {
    let kubernetes = sources().join("kubernetes");
    let namespaces = ["--set", "discovery.namespaces={socks,proxies}"];
    let without = [kustomize(&kubernetes.join("base"))?, chart(&[])?];
    for text in without {
        ensure!(roles(&text).is_empty(), "there are roles: {text}");
        ensure!(!has_token(&text), "there is a token: {text}");
    }
    let rule = "apiGroups: discovery.k8s.io; resources: endpointslices; verbs: get list watch";
    let role = |namespace: &str| (namespace.to_owned(), rule.to_owned());
    let with = [
        (
            kustomize(&kubernetes.join("overlays/discovery"))?,
            vec![role("socks")],
        ),
        (chart(&namespaces)?, vec![role("proxies"), role("socks")]),
    ];
    for (text, wanted) in with {
        let found = roles(&text);
        ensure!(found == wanted, "the roles are {found:?}");
        ensure!(has_token(&text), "there is no token: {text}");
        ensure!(
            !text.contains("ClusterRole"),
            "there is a role for all namespaces"
        );
        let bound = text.matches("kind: RoleBinding").count();
        ensure!(bound == wanted.len(), "{bound} roles are bound");
    }
    Ok(())
}

/// Whether pods get a token.
fn has_token(text: &str) -> bool {
    let pod = text.lines().map(str::trim);
    pod.filter(|line| line.starts_with("automountServiceAccountToken:"))
        .any(|line| line.ends_with("true"))
}

/// Namespace and rules of each role, in flow style or as lists.
fn roles(text: &str) -> Vec<(String, String)> {
    let roles = text
        .split("---\n")
        .filter(|document| document.lines().any(|line| line == "kind: Role"));
    let mut found: Vec<(String, String)> = roles
        .map(|document| {
            let mut namespace = String::new();
            let mut rules: Vec<String> = Vec::new();
            for line in document.lines() {
                let line = line.trim().trim_start_matches("- ");
                match line.split_once(':') {
                    Some(("namespace", name)) => name.trim().clone_into(&mut namespace),
                    Some((key @ ("apiGroups" | "resources" | "verbs"), values)) => {
                        let values = values.replace(['[', ']', ','], " ");
                        let values: Vec<&str> = values.split_whitespace().collect();
                        rules.push(format!("{key}: {}", values.join(" ")).trim_end().to_owned());
                    }
                    None if !rules.is_empty() && !line.is_empty() => {
                        if let Some(last) = rules.last_mut() {
                            last.push(' ');
                            last.push_str(line);
                        }
                    }
                    Some(_) | None => {}
                }
            }
            (namespace, rules.join("; "))
        })
        .collect();
    found.sort();
    found
}

/// The capabilities that are added, in flow style or as a list.
pub(super) fn capabilities(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "capabilities:");
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("add:") else {
            continue;
        };
        let flow = rest.trim().trim_matches(['[', ']']);
        found.extend(
            flow.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
        );
        for item in lines.by_ref() {
            match item.strip_prefix("- ") {
                Some(name) => found.push(name.to_owned()),
                None => break,
            }
        }
        break;
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_found_in_both_styles() {
        let list = "securityContext:\n  capabilities:\n    add:\n    - BPF\n    - PERFMON\n    drop:\n    - ALL\n";
        let flow =
            "capabilities:\n  drop: [ALL]\n  # why\n  add: [PERFMON, BPF]\nseccompProfile:\n";
        assert_eq!(capabilities(list), ["BPF", "PERFMON"]);
        assert_eq!(capabilities(flow), ["BPF", "PERFMON"]);
        assert!(capabilities("spec: {}").is_empty());
    }

    #[test]
    fn roles_are_found_in_both_styles_with_all_that_they_allow() {
        let flow = "kind: Role\nmetadata:\n  name: r\n  namespace: a\nrules:\n  - apiGroups: [g]\n    \
                    resources: [x, y]\n    verbs: [get, list]\n";
        let lists = "kind: Role\nmetadata:\n  name: r\n  namespace: b\nrules:\n- apiGroups:\n  - g\n  resources:\n  - x\n  \
                     - y\n  verbs:\n  - get\n  - list\n";
        let rule = "apiGroups: g; resources: x y; verbs: get list".to_owned();
        assert_eq!(
            roles(&format!("{lists}---\n{flow}---\nkind: RoleBinding\n")),
            [("a".to_owned(), rule.clone()), ("b".to_owned(), rule)]
        );
        let more = flow.replace("[get, list]", "[get, list, delete]");
        assert!(roles(&more)[0].1.ends_with("get list delete"));
        assert!(has_token("spec:\n  automountServiceAccountToken: true\n"));
        assert!(!has_token("spec:\n  automountServiceAccountToken: false\n"));
    }
}

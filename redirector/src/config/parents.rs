//! Nodes that have the state of another one, which is checked in their place.

use serde_spanned::Spanned;

use super::conflicts::Places;
use super::model::{Parent, Pool};
use super::problem::{Complaint, Findings};
use super::suggest::nearest;

/// Finds the node that each `parent` names: `NODE` of the same pool, or `POOL/NODE`.
pub(super) fn resolve(pools: &mut [Pool], places: &Places, findings: &mut Findings) {
    let written = places.parents.iter().enumerate().flat_map(|(pool, nodes)| {
        let nodes = nodes.iter();
        nodes.map(move |(node, name)| (Parent { pool, node: *node }, name))
    });
    let children: Vec<(Parent, &Spanned<String>)> = written.collect();
    for (child, name) in &children {
        let found = find(pools, *child, name.get_ref()).and_then(|parent| {
            if children.iter().any(|(other, _)| *other == parent) {
                let complaint = Complaint::new(format!(
                    "`{}` has a parent itself, or is the node itself",
                    name.get_ref()
                ));
                return Err(complaint.help("name the node that is checked"));
            }
            Ok(parent)
        });
        if let Some(parent) = findings.check(name.span(), found)
            && let Some(node) = pools[child.pool].nodes.get_mut(child.node)
        {
            node.parent = Some(parent);
        }
    }
}

fn find(pools: &[Pool], child: Parent, name: &str) -> Result<Parent, Complaint> {
    let (pool, node) = match name.split_once('/') {
        None => (child.pool, name),
        Some((pool, node)) => {
            let known = pools.iter().position(|known| known.name == pool);
            let known = known.ok_or_else(|| {
                let names = pools.iter().map(|pool| pool.name.as_str());
                unknown("pool", pool, nearest(pool, names))
            })?;
            (known, node)
        }
    };
    let nodes = &pools[pool].nodes;
    let index = nodes.iter().position(|known| known.name == node);
    index.map(|node| Parent { pool, node }).ok_or_else(|| {
        let names = nodes.iter().map(|node| node.name.as_str());
        unknown("node", node, nearest(node, names))
    })
}

fn unknown(what: &str, name: &str, meant: Option<&str>) -> Complaint {
    let help = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "name a node of this pool, or one of another as POOL/NODE".to_owned(),
    };
    Complaint::new(format!(
        "there is no {what} `{name}` that could be a parent"
    ))
    .help(help)
}

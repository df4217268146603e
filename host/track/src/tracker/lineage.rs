//! Lineage: who made, used and contains a digest, and everything that it came from.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Tracker;
use crate::error::TrackError;
use crate::lineage::{Lineage, LineageEdge, LineageGraph, LineageModel, LineageNode, LineageRun};
use crate::model::ModelVersion;
use crate::run::{Reference, ReferenceKind, Run};

/// Graphs are cut off at this many nodes.
const MAX_NODES: usize = 1000;

impl Tracker {
    /// Everything known about one digest.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn lineage(&self, digest: &str) -> Result<Lineage, TrackError> {
        let mut out = Lineage {
            digest: digest.to_owned(),
            ..Lineage::default()
        };
        let runs: Vec<Arc<Run>> = self.inner.runs.read().values().cloned().collect();
        for run in &runs {
            out.used_by.extend(mentions(run, &run.inputs, digest));
            out.made_by.extend(mentions(run, &run.outputs, digest));
        }
        for version in self.all_versions()? {
            let manifest = &version.manifest;
            let parts = [
                ("manifest", Some(&version.digest)),
                ("recipe", Some(&manifest.recipe.digest)),
                ("tokenizer", manifest.tokenizer.as_ref()),
                ("weights", Some(&manifest.weights)),
            ];
            for (role, part) in parts {
                if part.is_some_and(|part| part == digest) {
                    out.models.push(LineageModel {
                        model: version.model.clone(),
                        version: version.version,
                        role: role.to_owned(),
                    });
                }
            }
        }
        Ok(out)
    }

    /// Everything that a model version, a run or a digest came from. `text` is `model@version`, a run
    /// identifier or a digest.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] for an unknown model or run.
    pub fn ancestry(&self, text: &str) -> Result<LineageGraph, TrackError> {
        let digest = text.starts_with("blake3:") || text.starts_with("sha256:");
        let start = if digest || self.inner.runs.read().contains_key(text) {
            text.to_owned()
        } else {
            self.resolve_model(text)?.digest
        };
        let mut walk = Walk::new(
            self.inner.runs.read().values().cloned().collect(),
            self.all_versions()?,
        );
        walk.add(&start, None, None);
        while let Some(id) = walk.queue.pop_front() {
            walk.parents_of(&id);
        }
        Ok(walk.graph)
    }
}

fn mentions<'a>(
    run: &'a Arc<Run>,
    references: &'a [Reference],
    digest: &'a str,
) -> impl Iterator<Item = LineageRun> + 'a {
    references
        .iter()
        .filter(move |reference| reference.digest == digest)
        .map(|reference| LineageRun {
            run: run.id.clone(),
            name: run.name.clone(),
            kind: run.kind,
            status: run.status,
            reference: reference.clone(),
        })
}

/// Breadth first from a thing to what it came from.
struct Walk {
    runs: HashMap<String, Arc<Run>>,
    /// Digest → runs that made it.
    makers: HashMap<String, Vec<(String, String)>>,
    models: HashMap<String, ModelVersion>,
    graph: LineageGraph,
    seen: HashSet<String>,
    queue: VecDeque<String>,
}

impl Walk {
    fn new(runs: Vec<Arc<Run>>, versions: Vec<ModelVersion>) -> Self {
        let mut makers: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for run in &runs {
            for output in &run.outputs {
                makers
                    .entry(output.digest.clone())
                    .or_default()
                    .push((run.id.clone(), output.role.clone()));
            }
        }
        Self {
            runs: runs.into_iter().map(|run| (run.id.clone(), run)).collect(),
            makers,
            models: versions
                .into_iter()
                .map(|version| (version.digest.clone(), version))
                .collect(),
            graph: LineageGraph::default(),
            seen: HashSet::new(),
            queue: VecDeque::new(),
        }
    }

    /// Adds a node once; false when the graph is full.
    fn add(&mut self, id: &str, kind: Option<ReferenceKind>, label: Option<&str>) -> bool {
        if self.seen.contains(id) {
            return true;
        }
        if self.graph.nodes.len() >= MAX_NODES {
            self.graph.truncated = true;
            return false;
        }
        let (kind, label) = if let Some(run) = self.runs.get(id) {
            (None, run.name.clone())
        } else if let Some(model) = self.models.get(id) {
            let label = format!("{}@{}", model.model, model.version);
            (Some(ReferenceKind::Model), label)
        } else {
            (
                Some(kind.unwrap_or(ReferenceKind::File)),
                label.unwrap_or(id).to_owned(),
            )
        };
        self.graph.nodes.push(LineageNode {
            id: id.to_owned(),
            kind,
            label,
        });
        self.seen.insert(id.to_owned());
        self.queue.push_back(id.to_owned());
        true
    }

    fn edge(&mut self, from: &str, to: &str, role: &str) {
        let edge = LineageEdge {
            from: from.to_owned(),
            to: to.to_owned(),
            role: role.to_owned(),
        };
        if !self.graph.edges.contains(&edge) {
            self.graph.edges.push(edge);
        }
    }

    fn parents_of(&mut self, id: &str) {
        if let Some(run) = self.runs.get(id).cloned() {
            for input in &run.inputs {
                if self.add(&input.digest, Some(input.kind), Some(&input.name)) {
                    self.edge(&input.digest, id, &input.role);
                }
            }
            if let Some(parent) = &run.parent
                && self.add(parent, None, None)
            {
                self.edge(parent, id, "parent");
            }
        }
        if let Some(model) = self.models.get(id).cloned() {
            self.parts_of(id, &model);
        }
        for (run, role) in self.makers.get(id).cloned().unwrap_or_default() {
            if self.add(&run, None, None) {
                self.edge(&run, id, &role);
            }
        }
    }

    fn parts_of(&mut self, id: &str, version: &ModelVersion) {
        let manifest = &version.manifest;
        let recipe = format!("{}@{}", manifest.recipe.name, manifest.recipe.version);
        let parts = [
            (
                Some(&manifest.recipe.digest),
                ReferenceKind::Plugin,
                "recipe",
                Some(recipe.as_str()),
            ),
            (
                manifest.tokenizer.as_ref(),
                ReferenceKind::Tokenizer,
                "tokenizer",
                Some("tokenizer.json"),
            ),
            (
                Some(&manifest.weights),
                ReferenceKind::Weights,
                "weights",
                Some("weights"),
            ),
        ];
        for (digest, kind, role, label) in parts {
            if let Some(digest) = digest
                && self.add(digest, Some(kind), label)
            {
                self.edge(digest, id, role);
            }
        }
        if let Some(run) = &manifest.run
            && self.add(run, None, None)
        {
            self.edge(run, id, "run");
        }
        // A parent is named by digest or as `name@version`.
        let parent = manifest.parent.as_ref().and_then(|parent| {
            self.models
                .values()
                .find(|m| m.digest == *parent || format!("{}@{}", m.model, m.version) == *parent)
                .map(|m| m.digest.clone())
        });
        if let Some(parent) = parent
            && parent != id
            && self.add(&parent, None, None)
        {
            self.edge(&parent, id, "parent");
        }
    }
}

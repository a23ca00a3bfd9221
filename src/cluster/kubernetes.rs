//! The engine `kubernetes`: the manifest of an indexed Job, for `kubectl apply`. Submits nothing.

use serde_json::{Value, json};

use super::Work;
use crate::spec::{ClusterTable, KubernetesTable};

/// How often Kubernetes repeats a worker.
const RETRIES: u32 = 5;
/// The time between SIGTERM and the end of a pod, in seconds.
const GRACE: u32 = 120;
/// The longest name of a Job, so that the names of its pods fit.
const NAME: usize = 50;

pub(crate) struct Kubernetes<'a> {
    pub(crate) cluster: &'a ClusterTable,
    pub(crate) pods: &'a KubernetesTable,
}

impl Kubernetes<'_> {
    /// The manifest as JSON, which `kubectl` reads like YAML.
    pub(crate) fn manifest(&self, work: &Work) -> String {
        serde_json::to_string_pretty(&self.job(work)).unwrap_or_default() + "\n"
    }

    fn job(&self, work: &Work) -> Value {
        let KubernetesTable { image, claim, path, secret } = self.pods;
        let secret = secret.as_deref().unwrap_or("fanfold");
        let volume = claim.as_ref().zip(path.as_ref()).filter(|_| self.cluster.folder.is_none());
        let run = match volume {
            Some((_, path)) => format!("{}/.fanfold/runs/{}", path.trim_end_matches('/'), work.dir.name()),
            None => work.run.clone(),
        };
        let before = self.cluster.before.as_ref().map(|lines| format!("{}\n", lines.trim_end())).unwrap_or_default();
        let script = format!("set -e\n{before}{}", work.sequence("fanfold", &run, "JOB_COMPLETION_INDEX"));
        let variable =
            |name: &String| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": name } } });
        let env: Vec<Value> = self.cluster.env.iter().map(variable).collect();
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name(&work.dir.name()) },
            "spec": {
                "completionMode": "Indexed",
                "completions": work.workers,
                "parallelism": work.workers,
                "backoffLimitPerIndex": RETRIES,
                "template": { "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": GRACE,
                    "containers": [{
                        "name": "worker",
                        "image": image,
                        "command": ["/bin/sh", "-c", script],
                        "env": env,
                    }],
                } },
            },
        });
        if let Some((claim, path)) = volume {
            let pod = &mut job["spec"]["template"]["spec"];
            pod["containers"][0]["volumeMounts"] = json!([{ "name": "project", "mountPath": path }]);
            pod["volumes"] = json!([{ "name": "project", "persistentVolumeClaim": { "claimName": claim } }]);
        }
        job
    }
}

/// A name of a Job: lower-case letters, digits and `-`. The hash at the end of the run's name stays.
fn name(run: &str) -> String {
    let plain: String = run.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let tail = &plain[plain.len().saturating_sub(NAME)..];
    format!("fanfold-{}", tail.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_job_is_a_label() {
        assert_eq!(name("Speeches_1-0123456789ab"), "fanfold-speeches-1-0123456789ab");
        let long = name(&format!("{}-0123456789ab", "a".repeat(90)));
        assert!(long.len() <= 63 && long.ends_with("-0123456789ab"), "{long}");
    }
}

//! Deployments come, are replaced, go, and come back.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use support::{body, characters, endless, gpt, most, place, poems, poems_of, probe, state, until};
use tenon_serve::{
    CompletionEvent, CompletionRequest, DeploymentSpec, DeploymentState, Deployments, ServeError,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_lets_the_old_finish_and_sends_the_new_to_the_new() {
    let place = place();
    let deployments = endless(&place, |_| ());
    let first = poems_of(&deployments);
    let request = CompletionRequest {
        max_tokens: Some(10_000),
        min_tokens: Some(10_000),
        temperature: Some(1.0),
        seed: Some(2),
        ..CompletionRequest::text("a")
    };
    let expected = deployments
        .complete("poems", request.clone())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut running = deployments.complete("poems", request).await.unwrap();
    let mut text = String::new();
    let mut read = |event: Option<Result<CompletionEvent, ServeError>>| match event {
        Some(Ok(CompletionEvent::Text { text: piece, .. })) => {
            text.push_str(&piece);
            true
        }
        Some(Ok(_)) => true,
        Some(Err(error)) => panic!("{error}"),
        None => false,
    };
    assert!(read(running.next().await));
    // Another model takes its place while it runs.
    let model = place.register(
        "other",
        "recipe-gpt",
        &gpt(24),
        Some(characters("xyz")),
        8.0,
    );
    let deploying = deployments.clone();
    let spec = DeploymentSpec::new("poems", &model);
    let second = tokio::task::spawn_blocking(move || deploying.deploy(spec))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (second.model.as_str(), second.state),
        ("other@1", DeploymentState::Ready)
    );
    assert_eq!(second.created, first.created);
    assert!(second.updated > first.updated);
    assert_eq!(second.counters.requests, 0);
    let answer = deployments
        .predict("poems", body("xy", &most(4)))
        .await
        .unwrap();
    let new = answer["outputs"][0]["text"].as_str().unwrap();
    assert!(new.chars().all(|c| "xyz".contains(c)), "{new}");
    while read(running.next().await) {}
    assert_eq!(text, expected.choices[0].text);
    assert_eq!(poems_of(&deployments).counters.requests, 1);
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_fails_leaves_the_old_one() {
    let place = place();
    let deployments = poems(&place, |_| ());
    let expected = deployments
        .predict("poems", body("床", &most(3)))
        .await
        .unwrap();
    for (spec, words) in [
        (
            DeploymentSpec::new("poems", "nothing"),
            "no model `nothing`",
        ),
        (DeploymentSpec::new("poems", "poems@7"), "poems@7"),
        (DeploymentSpec::new("po/ems", "poems"), "not a name"),
        (
            DeploymentSpec {
                max_batch: 0,
                ..DeploymentSpec::new("poems", "poems")
            },
            "max_batch is 0",
        ),
        (
            DeploymentSpec {
                processor: Some(tenon_serve::ProcessorSpec::new("nobody/nothing")),
                ..DeploymentSpec::new("poems", "poems")
            },
            "no plugin `nobody/nothing`",
        ),
    ] {
        let error = deployments.deploy(spec).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_callers_fault(), "{error}");
    }
    assert_eq!(
        deployments
            .predict("poems", body("床", &most(3)))
            .await
            .unwrap(),
        expected
    );
    assert_eq!(deployments.list().len(), 1);
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_come_back() {
    let place = place();
    let processor = probe(&place, json!({"stages": ["postprocess"]}));
    let deployments = poems(&place, |spec| spec.generation = most(4));
    deployments
        .deploy(DeploymentSpec {
            processor: Some(processor),
            ..DeploymentSpec::new("probed", "poems@1")
        })
        .unwrap();
    let expected = deployments
        .predict("poems", body("床", &most(6)))
        .await
        .unwrap();
    let before = deployments.list();
    deployments.shutdown();
    drop(deployments);

    let place = place.reopen();
    // What the names mean now is something else; what was deployed stays.
    place.register(
        "poems",
        "recipe-gpt",
        &gpt(12),
        Some(characters("xyz")),
        1.0,
    );
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    // A request waits until it is loaded.
    assert_eq!(
        deployments
            .predict("poems", body("床", &most(6)))
            .await
            .unwrap(),
        expected
    );
    until("all are ready", || {
        deployments
            .list()
            .iter()
            .all(|one| one.state == DeploymentState::Ready)
    })
    .await;
    for (after, before) in deployments.list().iter().zip(&before) {
        assert_eq!(
            (&after.name, &after.model, &after.model_digest),
            (&before.name, &before.model, &before.model_digest)
        );
        assert_eq!(
            (&after.spec, &after.processor),
            (&before.spec, &before.processor)
        );
        assert_eq!(
            (after.created, after.updated),
            (before.created, before.updated)
        );
    }
    deployments.shutdown();
    drop(deployments);

    let place = place.reopen();
    let deployments = Deployments::open_idle(place.platform.clone()).unwrap();
    assert_eq!(state(&deployments), DeploymentState::Idle);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(state(&deployments), DeploymentState::Idle);
    assert_eq!(
        deployments
            .predict("poems", body("床", &most(6)))
            .await
            .unwrap(),
        expected
    );
    assert_eq!(state(&deployments), DeploymentState::Ready);
    assert_eq!(
        deployments.get("probed").unwrap().state,
        DeploymentState::Idle
    );
    // What it needs is gone: it says so, and the others are there.
    let plugin = deployments.get("probed").unwrap().processor.unwrap();
    place
        .platform
        .registry
        .remove(&plugin.digest, |_| None)
        .unwrap();
    deployments.shutdown();
    drop(deployments);

    let place = place.reopen();
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    let error = deployments.predict("probed", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), "not-loaded");
    assert!(error.to_string().contains(&plugin.digest), "{error}");
    let failed = deployments.get("probed").unwrap();
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(failed.reason.unwrap().contains(&plugin.digest));
    until("the other is ready", || {
        state(&deployments) == DeploymentState::Ready
    })
    .await;
    // Deploying it again mends it.
    probe(&place, json!({}));
    deployments.deploy(failed.spec).unwrap();
    assert_eq!(
        deployments.get("probed").unwrap().state,
        DeploymentState::Ready
    );
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_deployment_is_gone_for_good() {
    let place = place();
    let deployments = endless(&place, |_| ());
    let wanted = tenon_serve::GenerationSpec {
        min_tokens: Some(2000),
        ..most(2000)
    };
    let running = tokio::spawn({
        let deployments = deployments.clone();
        async move { deployments.predict("poems", body("a", &wanted)).await }
    });
    until("it runs", || {
        poems_of(&deployments).counters.prompt_tokens > 0
    })
    .await;
    assert_eq!(deployments.remove("poems").unwrap().name, "poems");
    let error = deployments
        .predict("poems", body("a", &most(1)))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("none is deployed yet"),
        "{error}"
    );
    assert_eq!(deployments.remove("poems").unwrap_err().kind(), "not-found");
    // What had begun is finished.
    assert_eq!(
        running.await.unwrap().unwrap()["outputs"][0]["finish"],
        "length"
    );
    deployments.shutdown();
    drop(deployments);
    let place = place.reopen();
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    assert!(deployments.list().is_empty());
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_leaves_what_is_deployed() {
    let place = place();
    let deployments = poems(&place, |_| ());
    let expected = deployments
        .predict("poems", body("床", &most(3)))
        .await
        .unwrap();
    // Nothing but the deployment names the weights any more.
    place.platform.tracker.delete_model("poems").unwrap();
    place.platform.sweep(Duration::ZERO).unwrap();
    deployments.shutdown();
    drop(deployments);
    let place = place.reopen();
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    assert_eq!(
        deployments
            .predict("poems", body("床", &most(3)))
            .await
            .unwrap(),
        expected
    );
    deployments.remove("poems").unwrap();
    let swept = place.platform.sweep(Duration::ZERO).unwrap();
    assert!(swept.removed >= 2, "{swept:?}");
    deployments.shutdown();
}

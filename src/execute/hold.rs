//! One run at a time in an account: a parameter of Systems Manager, held while cloud resources are made, before any cluster could tell.
//!
//! It is taken where something is to be written, and gone afterwards. One that is not renewed for a minute is nobody's.

use super::lease::{LeaseError, holder, is_dead};
use crate::aws::{Cloud, CloudError, Meaning};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Seconds without a sign of life after which a holder counts as dead.
const SECONDS: i64 = 60;
/// Two that take over from the same dead holder see each other within this time.
const SETTLING: Duration = Duration::from_secs(2);

#[derive(Deserialize, Serialize)]
struct Value {
    holder: String,
    renewed: jiff::Timestamp,
}

impl Value {
    fn ours() -> Self {
        Self { holder: holder(), renewed: jiff::Timestamp::now() }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A held account; renewed in the background until it is released.
#[derive(Debug)]
pub struct Hold {
    cloud: Arc<Cloud>,
    name: String,
    renewal: tokio::task::JoinHandle<()>,
    lost: watch::Receiver<Option<String>>,
}

/// Why it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Another run has it.
    #[error(transparent)]
    Held(#[from] LeaseError),
    /// AWS refuses the parameter itself.
    #[error("{0}")]
    Cloud(#[from] CloudError),
}

fn name(environment: &str) -> String {
    let plain: String =
        environment.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' }).collect();
    format!("/blackstart/{plain}/run")
}

impl Hold {
    /// Takes it, or says who has it.
    pub async fn take(cloud: Arc<Cloud>, environment: &str) -> Result<Self, HoldError> {
        let name = name(environment);
        if !cloud.claim_parameter(&name, &Value::ours().text()).await? {
            let told = read(&cloud, &name).await?;
            if let Some(told) = told.filter(|told| told.holder != holder()) {
                let age = jiff::Timestamp::now().as_second() - told.renewed.as_second();
                if age < SECONDS && !is_dead(&told.holder) {
                    return Err(LeaseError::Held { environment: environment.to_owned(), holder: told.holder, age }.into());
                }
            }
            cloud.delete_parameter(&name).await?;
            cloud.claim_parameter(&name, &Value::ours().text()).await?;
            tokio::time::sleep(SETTLING).await;
            if let Some(told) = read(&cloud, &name).await?.filter(|told| told.holder != holder()) {
                return Err(LeaseError::Held { environment: environment.to_owned(), holder: told.holder, age: 0 }.into());
            }
        }
        let (sender, lost) = watch::channel(None);
        let renewal = tokio::spawn(renew(cloud.clone(), name.clone(), sender));
        Ok(Self { cloud, name, renewal, lost })
    }

    /// Returns, with the new holder, when another run has taken it: this one stood still for too long.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        if let Ok(holder) = lost.wait_for(Option::is_some).await {
            return holder.clone().unwrap_or_default();
        }
        std::future::pending().await
    }

    /// Gives it back. An error is no reason to fail: it expires by itself.
    pub async fn release(self) {
        self.renewal.abort();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.cloud.delete_parameter(&self.name)).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn read(cloud: &Cloud, name: &str) -> Result<Option<Value>, CloudError> {
    match cloud.parameter(name).await {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.is_absent() || error.meaning == Meaning::Absent => Ok(None),
        Err(error) => Err(error),
    }
}

async fn renew(cloud: Arc<Cloud>, name: String, lost: watch::Sender<Option<String>>) {
    let mut clock = tokio::time::interval(Duration::from_secs(15));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock.tick().await;
    loop {
        clock.tick().await;
        // AWS that does not answer is no reason to stop: nobody else can take it then.
        let Ok(Some(told)) = read(&cloud, &name).await else { continue };
        if told.holder != holder() {
            let _ = lost.send(Some(told.holder));
            return;
        }
        let _ = cloud.set_parameter(&name, &Value::ours().text()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_named_after_the_environment() {
        assert_eq!(name("production"), "/blackstart/production/run");
        assert_eq!(name("shop/eu west"), "/blackstart/shop_eu_west/run");
    }
}

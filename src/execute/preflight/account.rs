//! Credentials, account and region; and this machine's clock, since AWS refuses calls that are more than five minutes off.

use crate::aws::{Access, Cloud};
use crate::execute::web::Web;
use crate::preflight::{Check, Group};
use http::Method;
use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// AWS refuses what is signed with a clock that is farther off ("Signing AWS API requests", IAM user guide).
const REFUSED: f64 = 300.0;
/// From here on it is worth a look.
const ODD: f64 = 60.0;

/// The account, and what there is to say of it.
pub async fn connect(access: &Access) -> (Option<Cloud>, Vec<Check>) {
    match Cloud::connect(access).await {
        Ok(cloud) => {
            let place = cloud.place();
            let name = format!("{} {}", place.account, place.region);
            let found = match &access.account {
                Some(_) => "the credentials belong to it",
                None => "the credentials belong to it; blackstart.yaml names no account (spec.aws.accountID)",
            };
            let check = Check::ok(Group::Account, name, found);
            (Some(cloud), vec![check])
        }
        Err(error) => {
            let wanted = access.account.as_deref().unwrap_or("AWS");
            let text = error.to_string();
            let found = text.strip_prefix("AWS: ").unwrap_or(&text);
            let check = Check::blocker(Group::Account, wanted, found.trim_end_matches("; nothing was written"));
            (
                None,
                vec![match error.hint() {
                    Some(hint) => check.fix(hint),
                    None => check,
                }],
            )
        }
    }
}

/// Our clock against AWS'.
pub(super) async fn clock(cloud: &Cloud) -> Vec<Check> {
    const NAME: &str = "clock";
    let url = cloud.sts_url();
    let asked = async {
        let sent = Timestamp::now();
        let answer = Web::new()?.ask(Method::HEAD, &url, &[]).await?;
        let date = answer.header(DATE).ok_or_else(|| "AWS' answer has no date".to_owned())?;
        let theirs = rfc2822::parse(date).map_err(|_| "AWS' date cannot be read".to_owned())?.timestamp();
        Ok::<_, String>(off(sent, Timestamp::now(), theirs))
    };
    vec![match asked.await {
        Err(why) => Check::not_checked(Group::Account, NAME, why),
        Ok(seconds) if seconds >= REFUSED => {
            Check::blocker(Group::Account, NAME, format!("{seconds:.0} s off; AWS refuses calls that are 300 s off"))
                .fix("set the clock: timedatectl set-ntp true")
        }
        Ok(seconds) if seconds >= ODD => {
            Check::warning(Group::Account, NAME, format!("{seconds:.0} s off; AWS refuses calls that are 300 s off"))
                .fix("set the clock: timedatectl set-ntp true")
        }
        Ok(_) => Check::ok(Group::Account, NAME, "agrees with AWS'"),
    }]
}

/// Seconds between two clocks: theirs was read between our two moments, and has no fractions.
fn off(sent: Timestamp, came: Timestamp, theirs: Timestamp) -> f64 {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    seconds(theirs, sent).max(seconds(came, theirs)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_the_answer_is_no_difference() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (sent, came) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:04Z"));
        assert!(off(sent, came, at("2026-01-01T00:00:02Z")) < 0.001);
        assert!((off(sent, came, at("2025-12-31T23:50:00Z")) - 600.0).abs() < 0.001, "ours is ahead");
        assert!((off(sent, came, at("2026-01-01T00:10:04Z")) - 600.0).abs() < 0.001, "ours is behind");
    }
}

//! What an account loses and gets again.

use super::Account;
use blackstart::aws;
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::plan::Action;

fn not_kept(declared: &[Declared], actions: &[Action]) -> Vec<String> {
    let others = declared.iter().zip(actions).filter(|(_, action)| **action != Action::Keep);
    others.map(|(one, action)| format!("{} {action:?}", one.node())).collect()
}

/// Everything is there once: whatever carries our tags is the one that its manifest means.
pub(crate) async fn is_whole(account: &Account, declared: &[Declared]) {
    assert_eq!(not_kept(declared, &account.actions(declared).await), [""; 0]);
    account.edge.take_calls();
    assert!(account.run(declared).await.success);
    assert_eq!(account.writes(), [""; 0], "one more run writes nothing");
}

/// Makes everything, then ten times loses a third of it by a random draw: exactly that is made again, all else keeps its ID. What is named
/// in `kept` is never lost.
pub(crate) async fn thirds(account: &Account, declared: &[Declared], kept: &[&str]) {
    let mut built = account.run(declared).await;
    assert!(built.success);
    let (needs, _) = needs(declared, account.cloud.place());
    let seed: u64 = std::env::var("BLACKSTART_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut dice = fastrand::Rng::with_seed(seed);
    for draw in 0..10 {
        // A third, none of which anything that stays needs: AWS would not let go of it either.
        let mut lost: Vec<usize> = Vec::new();
        while lost.len() < declared.len() / 3 {
            // Nor would it let go of the way out while public addresses are mapped through it.
            let is_held = |one: usize| {
                declared[one].schema.kind == "InternetGateway"
                    && (0..declared.len()).any(|other| declared[other].schema.kind == "NATGateway" && !lost.contains(&other))
            };
            let may_go = |one: usize| {
                !is_held(one)
                    && !kept.iter().any(|kept| declared[one].node().ends_with(kept))
                    && !lost.contains(&one)
                    && needs.iter().filter(|need| !need.late && need.from == one).all(|need| lost.contains(&need.to))
            };
            let free: Vec<usize> = (0..declared.len()).filter(|one| may_go(*one)).collect();
            lost.push(free[dice.usize(..free.len())]);
        }
        for position in &lost {
            let kind = aws::kind(declared[*position].schema).unwrap();
            kind.delete(&account.cloud, &built.living[position])
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", declared[*position].node()));
        }
        let actions = account.actions(declared).await;
        let missing: Vec<usize> = (0..actions.len()).filter(|position| actions[*position] == Action::Create).collect();
        lost.sort_unstable();
        assert_eq!(missing, lost, "draw {draw}");
        let again = account.run(declared).await;
        assert!(again.success, "draw {draw}");
        for position in (0..declared.len()).filter(|position| !lost.contains(position)) {
            assert_eq!(again.living[&position].id, built.living[&position].id, "{} is another one", declared[position].node());
        }
        built = again;
    }
    is_whole(account, declared).await;
}

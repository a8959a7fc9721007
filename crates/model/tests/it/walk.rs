//! Random walks at sizes that cannot be explored.

use std::hash::{BuildHasher, RandomState};

use model::{Action, Model, PlantedBug, Size, State};
use stateright::{Expectation, Model as _, Property};

const SIZE: Size = Size { units: 5, buyers: 12, faults: 6, claims: true };
const WALKS: u64 = 10_000;
/// Enough for the processes to come to rest after the last fault.
const LONGEST_WALK: usize = 400;
/// One choice in so many is a fault, where one is possible: they come late as well as early.
const FAULTS_ARE_RARE: u64 = 12;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let place = self.roll((from.len() as u64).max(1));
        from.get(usize::try_from(place).expect("a place in a slice")).copied()
    }
}

/// What fell, and the way there.
struct Fall {
    property: &'static str,
    way: Vec<Action>,
}

fn walk(model: &Model, always: &[Property<Model>], seed: u64) -> Result<State, Fall> {
    let mut dice = Dice(seed);
    let mut state = model.init_states().remove(0);
    let mut way = Vec::new();
    let mut actions = Vec::new();
    for _ in 0..LONGEST_WALK {
        actions.clear();
        model.actions(&state, &mut actions);
        let (faults, steps): (Vec<Action>, Vec<Action>) =
            actions.iter().partition(|action| matches!(action, Action::Fault(_)));
        let breaks = dice.roll(FAULTS_ARE_RARE) == 0;
        let Some(action) = dice.choose(if breaks && !faults.is_empty() { &faults } else { &steps }) else { break };
        way.push(action);
        state = model.next_state(&state, action).unwrap_or(state);
        if let Some(fallen) = always.iter().find(|property| !(property.condition)(model, &state)) {
            return Err(Fall { property: fallen.name, way });
        }
    }
    Ok(state)
}

fn always(model: &Model) -> Vec<Property<Model>> {
    model.properties().into_iter().filter(|property| property.expectation == Expectation::Always).collect()
}

/// Set `FLASHSALE_MODEL_SEED` to take one walk again.
#[test]
fn no_random_walk_at_a_larger_size_breaks_a_promise() {
    let model = Model::new(SIZE, None);
    let always = always(&model);
    let replay = std::env::var("FLASHSALE_MODEL_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let first = replay.unwrap_or_else(|| RandomState::new().hash_one(()) >> 1);
    println!("the first seed is {first}");
    let mut sold_out = 0;
    for seed in first..first + replay.map_or(WALKS, |_| 1) {
        match walk(&model, &always, seed) {
            Ok(end) => sold_out += u64::from(end.active() == end.sale.total),
            Err(Fall { property, way }) => panic!("seed {seed}: {property} falls after {way:?}"),
        }
    }
    assert!(replay.is_some() || sold_out > WALKS / 2, "only {sold_out} walks sold everything");
}

#[test]
fn random_walks_find_a_planted_bug() {
    let model = Model::new(SIZE, Some(PlantedBug::RebuildWithoutEmptyHands));
    let always = always(&model);
    let found = (0..WALKS).find_map(|seed| walk(&model, &always, seed).err().map(|fall| (seed, fall)));
    let (seed, fall) = found.expect("a walk finds it");
    println!("seed {seed}: {} falls after {} steps", fall.property, fall.way.len());
}

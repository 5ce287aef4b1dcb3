//! Made packets through every contender, round by round in random order, each packet accounted for.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::filters::{Blocked, CONTENDERS, Contender, Filter};
use crate::generator::{Generator, Made};
use crate::program_time;
use crate::results::{Cell, Series};
use crate::scenarios::{SCENARIOS, SLOW, Scenario, Wanted};
use crate::stage::{Ends, Stage};

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub quick: bool,
    pub rounds: usize,
    pub packets: u32,
}

/// Both gateways with all contenders that are ready to be put in place.
struct Field {
    plain: Stage,
    nat: Stage,
    filters: HashMap<&'static str, Box<dyn Filter>>,
}

impl Field {
    fn stage(&self, contender: &Contender) -> &Stage {
        if contender.nat { &self.nat } else { &self.plain }
    }
}

/// Runs every scenario; tells on standard error how far it is.
pub fn run(effort: Effort, wanted: Wanted<'_>, random: &mut fastrand::Rng) -> Result<Vec<Series>> {
    let takes_part =
        |contender: &str| wanted.contender(contender) && !(effort.quick && SLOW.contains(&contender));
    let scenarios: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| (scenario.quick || !effort.quick) && wanted.scenario(scenario.name))
        .collect();
    if scenarios.is_empty() {
        return Ok(Vec::new());
    }
    let mut field =
        Field { plain: Stage::for_floods(false)?, nat: Stage::for_floods(true)?, filters: HashMap::new() };
    for contender in CONTENDERS.iter().filter(|c| takes_part(c.name)) {
        eprintln!("preparing {}", contender.label);
        let filter = contender.prepare(field.stage(contender))?;
        field.filters.insert(contender.name, filter);
    }
    let mut all = Vec::new();
    for scenario in scenarios {
        let names: Vec<_> = scenario.contenders.iter().copied().filter(|name| takes_part(name)).collect();
        all.extend(measure(&mut field, scenario, &names, effort, random)?);
    }
    Ok(all)
}

fn measure(
    field: &mut Field,
    scenario: &Scenario,
    names: &[&'static str],
    effort: Effort,
    random: &mut fastrand::Rng,
) -> Result<Vec<Series>> {
    let mut series = Vec::new();
    for name in names {
        series.push(Series::new(scenario.name, scenario.label, Contender::named(name)?));
    }
    let mut generators = Generators {
        plain: Generator::load(&field.plain, &scenario.plan, false)?,
        nat: Generator::load(&field.nat, &scenario.plan, false)?,
        empty: Generator::load(&field.plain, &scenario.plan, true)?,
    };
    for round in 1..=effort.rounds {
        eprintln!("{}: round {round} of {}", scenario.label, effort.rounds);
        let own = generators.empty.inject(&field.plain, effort.packets)?.as_nanos() as f64
            / f64::from(effort.packets);
        let mut order: Vec<usize> = (0..names.len()).collect();
        random.shuffle(&mut order);
        for i in order {
            let cell = one(field, &mut generators, Contender::named(names[i])?, effort.packets, round == 1)
                .with_context(|| format!("{}, {}", scenario.label, names[i]))?;
            series[i].add(Cell { nanoseconds: cell.nanoseconds - own, ..cell }, own);
        }
    }
    Ok(series)
}

struct Generators {
    plain: Generator,
    nat: Generator,
    empty: Generator,
}

/// One contender put in place, measured, checked and taken away; the first time the kernel times its programs as well.
fn one(
    field: &mut Field,
    generators: &mut Generators,
    contender: &'static Contender,
    packets: u32,
    first: bool,
) -> Result<Cell> {
    let stage = if contender.nat { &field.nat } else { &field.plain };
    let generator = if contender.nat { &mut generators.nat } else { &mut generators.plain };
    let filter = field.filters.get_mut(contender.name).context("it was not prepared")?;
    // The kernel's own log takes microseconds a line, and somebody may have to read it.
    let packets = if contender.name == "nft-log" { packets.min(20_000) } else { packets };
    filter.enter(stage)?;
    let result = (|| {
        generator.inject(stage, packets / 10)?;
        let before = Books::of(stage, generator, filter.as_ref())?;
        let took = generator.inject(stage, packets)?;
        filter.audit()?;
        let after = Books::of(stage, generator, filter.as_ref())?;
        after.since(&before).agree(filter.on_blocked())?;
        let program = if first {
            let some = packets / 4;
            program_time::measure(stage, some, || generator.inject(stage, some).map(drop))?
        } else {
            None
        };
        let nanoseconds = took.as_nanos() as f64 / f64::from(packets);
        Ok(Cell {
            nanoseconds,
            program_nanoseconds: program,
            overflowed: after.ends.overflowed - before.ends.overflowed,
        })
    })();
    filter.leave(stage)?;
    result
}

/// Where every packet has been seen.
struct Books {
    made: Made,
    ends: Ends,
    dropped: Option<u64>,
}

impl Books {
    fn of(stage: &Stage, generator: &Generator, filter: &dyn Filter) -> Result<Self> {
        Ok(Self { made: generator.made()?, ends: stage.ends()?, dropped: filter.dropped(stage)? })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            made: Made {
                all: self.made.all - before.made.all,
                blocked: self.made.blocked - before.made.blocked,
            },
            ends: Ends {
                forwarded: self.ends.forwarded - before.ends.forwarded,
                answered: self.ends.answered - before.ends.answered,
                overflowed: self.ends.overflowed - before.ends.overflowed,
            },
            dropped: self.dropped.zip(before.dropped).map(|(now, then)| now - then),
        }
    }

    /// Sent is forwarded and denied, to the packet: a figure of a filter that loses some, or lets some out, is none.
    fn agree(&self, on_blocked: Blocked) -> Result<()> {
        let Self { made, ends, dropped } = self;
        let forwarded = match on_blocked {
            Blocked::Forwarded => made.all,
            Blocked::Dropped | Blocked::Answered => made.all - made.blocked,
            Blocked::EverythingDropped => 0,
        };
        let answered = if on_blocked == Blocked::Answered { made.blocked } else { 0 };
        ensure!(
            ends.forwarded + ends.answered + ends.overflowed == forwarded + answered,
            "of {} packets {forwarded} should have been forwarded and {answered} answered; {ends:?}",
            made.all
        );
        if let Some(dropped) = dropped {
            ensure!(*dropped == made.blocked, "{} packets were to be denied, {dropped} were", made.blocked);
        }
        Ok(())
    }
}

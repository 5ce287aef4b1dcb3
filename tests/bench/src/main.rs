//! Measures smtpfence beside what a user would pick instead; `cargo xtask bench` runs it.

mod clock;
mod filters;
mod floods;
mod generator;
mod program_time;
mod programs;
mod results;
mod stage;

fn main() -> anyhow::Result<()> {
    let effort = floods::Effort { quick: true, rounds: 3, packets: 200_000 };
    let mut random = fastrand::Rng::with_seed(1);
    let only: Vec<String> = std::env::args().skip(1).collect();
    let all = floods::run(effort, &only, &mut random)?;
    for s in &all {
        let base = results::find(&all, s.scenario, "forwarding").unwrap();
        println!("{:15} {:25} {:?} ratio {:.2} prog {:?} gen {:.1?} over {}", s.scenario, s.contender, s.spread(), s.ratio_to(base).median, s.program_ns, s.generator_ns, s.overflowed);
    }
    Ok(())
}

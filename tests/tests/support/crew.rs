//! Members of a group as processes of their own, and what they print.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    ops::Range,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

const MEMBER: &str = env!("CARGO_BIN_EXE_member-under-test");
/// Longer than anything takes, on whatever machine.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(180);

/// What one process has printed so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its id in the group, once it has joined.
    pub member: String,
    /// The partitions that it has, as far as it knows.
    pub has: BTreeSet<u32>,
    /// What it got of each partition: a range of offsets for each time that it was assigned. Whatever is not the
    /// offset after the last one is a fault.
    pub got: BTreeMap<u32, Vec<Range<u64>>>,
    /// Partitions taken away from it in good order, and those it lost at once, since they were last forgotten.
    pub revoked: BTreeSet<u32>,
    pub lost: BTreeSet<u32>,
    /// What should not be.
    pub faults: Vec<String>,
}

impl Seen {
    fn take(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = || rest.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
        let partitions = || numbers().map(|n| u32::try_from(n).expect("a partition")).collect::<Vec<_>>();
        match what {
            "member" => self.member = rest.to_owned(),
            "assigned" => {
                for partition in partitions() {
                    self.has.insert(partition);
                    self.got.entry(partition).or_default().push(0..0);
                }
            }
            "revoking" | "lost" => {
                let gone = if what == "lost" { &mut self.lost } else { &mut self.revoked };
                gone.extend(partitions());
                self.has.retain(|partition| !partitions().contains(partition));
            }
            "got" => {
                let numbers: Vec<u64> = numbers().collect();
                let [partition, offset] = numbers.as_slice() else { panic!("{line}") };
                self.take_offset(u32::try_from(*partition).expect("a partition"), *offset);
            }
            _ => self.faults.push(line.to_owned()),
        }
    }

    fn take_offset(&mut self, partition: u32, offset: u64) {
        let Some(run) = self.got.get_mut(&partition).and_then(|runs| runs.last_mut()) else {
            return self.faults.push(format!("got {partition} {offset}, and was never assigned it"));
        };
        if run.is_empty() {
            *run = offset..offset + 1;
        } else if run.end == offset {
            run.end += 1;
        } else {
            self.faults.push(format!("got {partition} {offset} after {run:?}"));
        }
    }

    /// What it got of a partition since it was last assigned; empty where that is nothing.
    pub fn run(&self, partition: u32) -> Range<u64> {
        self.got.get(&partition).and_then(|runs| runs.last()).cloned().unwrap_or_default()
    }

    /// Whether it has these partitions, and got something of each since it was last assigned.
    pub fn reads(&self, partitions: impl IntoIterator<Item = u32>) -> bool {
        partitions
            .into_iter()
            .all(|partition| self.has.contains(&partition) && !self.run(partition).is_empty())
    }
}

/// The group's processes.
pub struct Crew {
    seen: Arc<Mutex<Vec<Seen>>>,
    news: watch::Sender<()>,
    processes: Vec<Child>,
    /// Who listens to each of them.
    listeners: Vec<Option<JoinHandle<()>>>,
    arguments: [String; 4],
    context: String,
}

impl Crew {
    /// No one yet: members of `group`, which read `topic` at `url`. `context` is in the text of each failure.
    pub fn new(url: &str, group: &str, topic: &str, session: Duration, context: &str) -> Self {
        let arguments = [url.to_owned(), group.to_owned(), topic.to_owned(), session.as_millis().to_string()];
        let news = watch::Sender::new(());
        let (seen, processes, listeners) = Default::default();
        Self { seen, news, processes, listeners, arguments, context: context.to_owned() }
    }

    /// Starts one more process, as `instance` where that is not empty; returns its number.
    pub fn start(&mut self, instance: &str) -> usize {
        let mut process = Command::new(MEMBER)
            .args(&self.arguments)
            .arg(instance)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the member starts");
        let out = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let number = self.processes.len();
        self.processes.push(process);
        self.seen.lock().expect("no one panics with it").push(Seen::default());
        let (seen, news) = (Arc::clone(&self.seen), self.news.clone());
        self.listeners.push(Some(std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                seen.lock().expect("no one panics with it")[number].take(&line);
                news.send_replace(());
            }
        })));
        number
    }

    /// What they have printed so far, by number.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no one panics with it").clone()
    }

    /// Waits until what they printed is as wanted.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut news = self.news.subscribe();
        let wait = async {
            loop {
                {
                    let seen = self.seen.lock().expect("no one panics with it");
                    let faults: Vec<_> = seen.iter().map(|seen| &seen.faults).collect();
                    assert!(faults.iter().all(|faults| faults.is_empty()), "{}: {faults:?}", self.context);
                    if holds(&seen) {
                        return seen.clone();
                    }
                }
                news.changed().await.expect("the sender is here");
            }
        };
        match tokio::time::timeout(GIVEN_UP_AFTER, wait).await {
            Ok(seen) => seen,
            Err(_) => panic!("{}: waited in vain until {what}: {:#?}", self.context, self.seen()),
        }
    }

    /// Waits until these members, and they alone, have all `partitions` in equal shares, and get records of each.
    pub async fn until_shared(&self, members: &[usize], partitions: u32) -> Vec<Seen> {
        let share = usize::try_from(partitions).expect("it is small") / members.len();
        let what = format!("{members:?} share {partitions} partitions");
        let shared = |seen: &[Seen]| {
            members.iter().all(|n| seen[*n].has.len() == share && seen[*n].reads(seen[*n].has.clone()))
        };
        self.until(&what, shared).await
    }

    /// Forgets which member has released what.
    pub fn forget_moves(&self) {
        for seen in self.seen.lock().expect("no one panics with it").iter_mut() {
            seen.revoked.clear();
            seen.lost.clear();
        }
    }

    /// `kill -9`, and waits until it is gone and all that it printed was taken in.
    pub fn kill(&mut self, number: usize) {
        self.processes[number].kill().expect("the member can be killed");
        self.processes[number].wait().expect("the member can be waited for");
        if let Some(listener) = self.listeners[number].take() {
            listener.join().expect("its output can be parsed");
        }
    }

    /// Sends a signal.
    pub fn signal(&self, number: usize, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.processes[number]);
        rustix::process::kill_process(pid, signal).expect("the member can be signalled");
    }

    /// Waits until everything below `ends` was handled, by whomever: nothing was skipped.
    pub async fn until_all_handled(&self, ends: &[u64]) {
        let handled = |seen: &[Seen]| {
            (0..).zip(ends).all(|(partition, end)| {
                let runs = seen.iter().filter_map(|seen| seen.got.get(&partition)).flatten();
                covers(runs.cloned().collect(), *end)
            })
        };
        self.until(&format!("everything below {ends:?} is handled"), handled).await;
    }
}

/// Whether ranges cover everything below `end`.
fn covers(mut runs: Vec<Range<u64>>, end: u64) -> bool {
    runs.sort_by_key(|run| run.start);
    let reached =
        runs.iter().fold(0, |reached, run| if run.start <= reached { reached.max(run.end) } else { reached });
    reached >= end
}

impl Drop for Crew {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _already_gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

//! Work that one loop does on behalf of many that wait: a round serves everybody who asked before it began. Used for
//! saving tables to their files and for registering with the name servers.

use tokio::sync::watch;

/// A round that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Serves everybody whose ticket is not larger.
    number: u64,
    /// Whether its work was done, as the loop said.
    pub done: bool,
}

/// Requests for rounds and the last one that ended. The loop calls [`Rounds::next`] and [`Rounds::end`]; everybody else
/// [`Rounds::ask`] and perhaps [`Rounds::wait`].
pub struct Rounds {
    asked: watch::Sender<u64>,
    ended: watch::Sender<Round>,
}

/// A place in the queue for the next round.
#[derive(Debug, Clone, Copy)]
#[must_use = "waiting is what a ticket is for; drop it to say that nobody waits"]
pub struct Ticket(u64);

impl Default for Rounds {
    fn default() -> Rounds {
        let ended = Round {
            number: 0,
            done: true,
        };
        Rounds {
            asked: watch::Sender::new(0),
            ended: watch::Sender::new(ended),
        }
    }
}

impl Rounds {
    /// Asks for a round that begins from now on.
    pub fn ask(&self) -> Ticket {
        let mut ticket = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        Ticket(ticket)
    }

    /// Asks for a round that nobody waits for.
    pub fn wake(&self) {
        let Ticket(_) = self.ask();
    }

    /// Waits until a round that serves the ticket has ended; false if its work failed.
    pub async fn wait(&self, ticket: Ticket) -> bool {
        let mut ended = self.ended.subscribe();
        let round = ended.wait_for(|round| round.number >= ticket.0).await;
        round.is_ok_and(|round| round.done)
    }

    /// For the loop: waits for the first ticket behind the last round, and returns the number to end the round with.
    pub async fn next(&self) -> u64 {
        let mut asked = self.asked.subscribe();
        let served = self.ended.borrow().number;
        *asked
            .wait_for(|asked| *asked > served)
            .await
            .expect("the sender lives as long as self")
    }

    /// For the loop: everybody who asked so far, without waiting.
    pub fn so_far(&self) -> u64 {
        *self.asked.borrow()
    }

    /// For the loop: ends the round that began with `number`.
    pub fn end(&self, number: u64, done: bool) {
        self.ended.send_replace(Round { number, done });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_round_serves_all_who_asked_before_it_and_nobody_later() {
        let rounds = Rounds::default();
        let (first, second) = (rounds.ask(), rounds.ask());
        let number = rounds.next().await;
        let third = rounds.ask();
        rounds.end(number, true);
        assert!(rounds.wait(first).await && rounds.wait(second).await);
        let later = tokio::time::timeout(std::time::Duration::ZERO, rounds.wait(third)).await;
        assert!(later.is_err(), "it asked after the round began");
        let number = rounds.next().await;
        rounds.end(number, false);
        assert!(!rounds.wait(third).await, "the round failed");
    }
}

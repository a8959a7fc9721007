//! A sale with everything that serves it, each process and each wire to be broken on its own.

use domain::SaleId;
use ledger::NewSale;
use servers::{Signal, free_port};

use crate::client::Client;
use crate::history::History;
use crate::judge::Judgement;
use crate::load::{Load, Pace};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::stack::{Own, Stack, new_sale};
use crate::wait::until;

/// How many of each process serve a sale.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// `flashsale-api`
    pub apis: usize,
    /// `flashsale-persister`
    pub persisters: usize,
    /// `flashsale-keeper`
    pub keepers: usize,
}

impl Default for Cast {
    fn default() -> Self {
        Self { apis: 1, persisters: 1, keepers: 1 }
    }
}

/// The wires of some processes to the three servers.
pub struct Wires {
    /// To Redis.
    pub redis: Proxy,
    /// To RabbitMQ.
    pub rabbitmq: Proxy,
    /// To PostgreSQL.
    pub postgres: Proxy,
}

impl Wires {
    async fn of(stack: &Stack) -> Self {
        Self {
            redis: Proxy::before(stack.redis.url()).await,
            rabbitmq: Proxy::before(stack.rabbitmq.url()).await,
            postgres: Proxy::before(stack.postgres.url()).await,
        }
    }

    /// A system's settings with the servers behind these wires.
    fn variables(&self, stack: &Stack) -> Vec<(String, String)> {
        let mut variables = stack.variables();
        for (name, value) in &mut variables {
            match name.as_str() {
                "FLASHSALE__REDIS__URL" => *value = self.redis.url_of(value),
                "FLASHSALE__RABBITMQ__URL" => *value = self.rabbitmq.url_of(value),
                "FLASHSALE__POSTGRES__URL" => *value = self.postgres.url_of(value),
                _ => {}
            }
        }
        variables
    }
}

/// One process of a scene, that may die and come back.
pub struct Replica {
    name: &'static str,
    variables: Vec<(String, String)>,
    process: Option<Process>,
    /// Whether this life of it has a failpoint.
    is_armed: bool,
}

impl Replica {
    /// Ends it where it runs with a failpoint, whether or not that has fired.
    pub fn disarm(&mut self) {
        if self.is_armed {
            self.process = None;
        }
    }

    /// The log of a process that has ended without being told to by [`Replica::kill`] or [`Replica::stop`]; it counts
    /// as down from now on.
    pub fn bury_if_dead(&mut self) -> Option<String> {
        self.process.take_if(Process::has_ended).map(|dead| dead.log())
    }

    /// The process.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the replica runs")
    }

    /// Whether it has been started and neither killed nor stopped by the test since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the replica to be killed runs").kill();
    }

    /// Waits until it has ended by itself, as a failpoint makes it, and returns its log.
    ///
    /// # Panics
    /// It does not end, or was not running.
    pub async fn died(&mut self) -> String {
        let mut process = self.process.take().expect("the replica that dies runs");
        let status = process.ended().await;
        assert!(!status.success(), "{} ended in good order", self.name);
        process.log()
    }

    /// SIGTERM, and waits until it has ended in good order.
    ///
    /// # Panics
    /// It does not.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("the replica to be stopped runs");
        process.signal(Signal::TERM);
        let status = process.ended().await;
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, process.log());
    }

    /// SIGSTOP: it keeps its connections and does nothing.
    pub fn freeze(&mut self) {
        self.process().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process().signal(Signal::CONT);
    }
}

/// An open sale and what serves it.
pub struct Scene {
    /// The sale.
    pub sale: SaleId,
    /// The APIs, each on a port that it keeps.
    pub apis: Vec<Replica>,
    /// Clients of the APIs, in the same order.
    pub clients: Vec<Client>,
    /// The persisters.
    pub persisters: Vec<Replica>,
    /// The keepers.
    pub keepers: Vec<Replica>,
    /// The wires of the APIs.
    pub api_wires: Wires,
    /// The wires of persisters and keepers.
    pub worker_wires: Wires,
    /// Its servers, its database and the folder of its logs: the last to go, so that a test that fails can show them.
    pub stack: Stack,
}

impl Scene {
    /// An open sale of `stock` units, one to a buyer, served by one process of each kind.
    pub async fn open(own: Own, stock: u32) -> Self {
        Self::with(own, &new_sale(stock), Cast::default(), &[]).await
    }

    /// An open sale, served by as many processes as `cast` says, with other settings than a test's usual ones.
    ///
    /// # Panics
    /// Something does not start.
    pub async fn with(own: Own, sale: &NewSale, cast: Cast, changes: &[(&str, &str)]) -> Self {
        let stack = Stack::with_own(own).await;
        let sale = stack.create(sale).await;
        stack.reconcile().await;
        let (api_wires, worker_wires) = (Wires::of(&stack).await, Wires::of(&stack).await);
        let (mut apis, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..cast.apis {
            let port = free_port().expect("a free port").to_string();
            clients.push(Client::new(&format!("http://127.0.0.1:{port}")));
            let own = [changes, &[("FLASHSALE__API__PORT", port.as_str())]].concat();
            apis.push(replica("flashsale-api", &api_wires, &stack, &own));
        }
        let workers = |name, count| -> Vec<Replica> {
            (0..count).map(|_| replica(name, &worker_wires, &stack, changes)).collect()
        };
        let persisters = workers("flashsale-persister", cast.persisters);
        let keepers = workers("flashsale-keeper", cast.keepers);
        let mut scene = Self { stack, sale, apis, clients, persisters, keepers, api_wires, worker_wires };
        scene.raise().await;
        scene
    }

    /// Starts every replica that is down, and waits until each API is ready.
    ///
    /// # Panics
    /// One does not start.
    pub async fn raise(&mut self) {
        for replica in self.apis.iter_mut().chain(&mut self.persisters).chain(&mut self.keepers) {
            self.stack.raise(replica, &[]);
        }
        for client in &self.clients {
            let ready = async || {
                let answer = client.request(reqwest::Method::GET, "/readyz").send().await;
                answer.is_ok_and(|answer| answer.status() == 200).then_some(())
            };
            until("the API is ready", crate::stack::READY_WITHIN, ready).await;
        }
    }

    /// A client of the first API.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.clients[0]
    }

    /// Starts buyers at every API.
    #[must_use]
    pub fn load(&self, pace: Pace) -> Load {
        Load::start(&self.stack.database, &self.clients.iter().collect::<Vec<_>>(), self.sale, pace)
    }

    /// Waits until the books are settled and judges what clients saw of the sale.
    pub async fn judge(&self, history: &History) -> Judgement {
        self.stack.judge(self.client(), self.sale, history).await
    }

    /// Stops the load, judges, and removes everything.
    ///
    /// # Panics
    /// An invariant is broken.
    pub async fn close(self, load: Load) -> Judgement {
        let history = load.stop().await;
        let judgement = self.judge(&history).await;
        judgement.assert_clean();
        self.end().await;
        judgement
    }

    /// Removes everything, unjudged.
    pub async fn end(self) {
        let Self { stack, apis, persisters, keepers, .. } = self;
        drop((apis, persisters, keepers));
        stack.close().await;
    }
}

impl Stack {
    /// Starts a replica that is down, with `changes` for this life of it only: a failpoint, as a rule.
    pub fn raise(&self, replica: &mut Replica, changes: &[(&str, &str)]) {
        if !replica.is_up() {
            let changes: Vec<(&str, &str)> = replica
                .variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .chain(changes.to_vec())
                .collect();
            replica.is_armed = changes.iter().any(|(name, _)| *name == "FLASHSALE_FAILPOINT");
            replica.process = Some(self.start_with(replica.name, &[], &changes));
        }
    }
}

fn replica(name: &'static str, wires: &Wires, stack: &Stack, changes: &[(&str, &str)]) -> Replica {
    let mut variables = wires.variables(stack);
    variables.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Replica { name, variables, process: None, is_armed: false }
}

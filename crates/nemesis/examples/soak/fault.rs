//! Every fault of the soak: how it is done, and how it is undone.

use std::time::{Duration, Instant};

use broker::Drain;
use domain::Epoch;
use failpoints::Point;
use servers::Signal;
use testkit::{Process, Proxy, Replica, Scene, Wire};

/// A kind of process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Api,
    Persister,
    Keeper,
}

/// A server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    Redis,
    RabbitMq,
    Postgres,
}

/// Whose wires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Apis,
    Workers,
}

/// Something that breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Kill(Role),
    Freeze(Role),
    Restart(Role),
    Crash(Point),
    KillServer(Server),
    FreezeServer(Server),
    StopPostgresAtOnce,
    WipeRedis,
    CutRedisTail,
    FlushRedis,
    FlushScripts,
    DeleteQueue,
    PurgeQueue,
    Wire(Side, Server, Trouble),
    ThreeReconcilers,
}

/// What a wire does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    Slow,
    ServerMute,
    ClientMute,
    Cut,
}

use Fault::{
    Crash, CutRedisTail, DeleteQueue, FlushRedis, FlushScripts, Freeze, FreezeServer, Kill, KillServer, PurgeQueue,
    Restart, StopPostgresAtOnce, ThreeReconcilers, WipeRedis,
};

impl Fault {
    /// Every fault, each as likely as the next. No sale here books units back, so no keeper dies while it adjusts.
    pub(crate) const ALL: &[Self] = &[
        Kill(Role::Api),
        Kill(Role::Persister),
        Kill(Role::Keeper),
        Freeze(Role::Api),
        Freeze(Role::Persister),
        Freeze(Role::Keeper),
        Restart(Role::Api),
        Restart(Role::Persister),
        Restart(Role::Keeper),
        Crash(Point::ApiReserved),
        Crash(Point::BrokerPublished),
        Crash(Point::ApiConfirmed),
        Crash(Point::PersisterGathered),
        Crash(Point::PersisterCommitted),
        Crash(Point::PersisterAcknowledged),
        Crash(Point::KeeperRepublished),
        Crash(Point::ReconcileFenced),
        Crash(Point::ReconcileDrained),
        Crash(Point::ReconcileSettled),
        Crash(Point::ReconcileOpened),
        KillServer(Server::Redis),
        KillServer(Server::RabbitMq),
        KillServer(Server::Postgres),
        FreezeServer(Server::Redis),
        FreezeServer(Server::RabbitMq),
        FreezeServer(Server::Postgres),
        StopPostgresAtOnce,
        WipeRedis,
        CutRedisTail,
        FlushRedis,
        FlushScripts,
        DeleteQueue,
        PurgeQueue,
        Self::Wire(Side::Apis, Server::Redis, Trouble::Slow),
        Self::Wire(Side::Apis, Server::Redis, Trouble::ServerMute),
        Self::Wire(Side::Apis, Server::Redis, Trouble::ClientMute),
        Self::Wire(Side::Apis, Server::RabbitMq, Trouble::Slow),
        Self::Wire(Side::Apis, Server::RabbitMq, Trouble::ServerMute),
        Self::Wire(Side::Apis, Server::RabbitMq, Trouble::ClientMute),
        Self::Wire(Side::Apis, Server::Postgres, Trouble::Cut),
        Self::Wire(Side::Workers, Server::Redis, Trouble::Cut),
        Self::Wire(Side::Workers, Server::Redis, Trouble::ServerMute),
        Self::Wire(Side::Workers, Server::RabbitMq, Trouble::Cut),
        Self::Wire(Side::Workers, Server::RabbitMq, Trouble::ServerMute),
        Self::Wire(Side::Workers, Server::Postgres, Trouble::Slow),
        Self::Wire(Side::Workers, Server::Postgres, Trouble::ServerMute),
        ThreeReconcilers,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Crash(point) => format!("crash at {}", point.name()),
            Self::Wire(side, server, trouble) => format!("wire {side:?}-{server:?} {trouble:?}"),
            other => format!("{other:?}"),
        }
    }

    /// How long it takes at least until it has happened.
    pub(crate) fn shortest(self) -> Duration {
        match self {
            // A new queue settles for three seconds before a rebuild comes to its end.
            Crash(point) if is_in_rebuild(point) => Duration::from_secs(5),
            _ => Duration::ZERO,
        }
    }

    /// Not covered by the promise: Redis's state and RabbitMQ's confirmed messages lost in the same window. And what
    /// both stop the same process, or break the same wire or server, would undo each other.
    pub(crate) fn may_meet(self, other: Self) -> bool {
        let loses_both =
            (self.loses_redis() && other.loses_messages()) || (self.loses_messages() && other.loses_redis());
        !loses_both && self.touches() & other.touches() == 0
    }

    pub(crate) fn loses_redis(self) -> bool {
        matches!(self, WipeRedis | CutRedisTail | FlushRedis)
    }

    fn loses_messages(self) -> bool {
        matches!(self, DeleteQueue | PurgeQueue)
    }

    /// A bit for each thing it breaks: two faults that share one cannot be done at once.
    fn touches(self) -> u16 {
        let role = |role| match role {
            Role::Api => 1,
            Role::Persister => 1 << 1,
            Role::Keeper => 1 << 2,
        };
        let server = |server| match server {
            Server::Redis => 1 << 3,
            Server::RabbitMq => 1 << 4,
            Server::Postgres => 1 << 5,
        };
        match self {
            Kill(of) | Freeze(of) | Restart(of) => role(of),
            Crash(point) if is_in_rebuild(point) => role(Role::Keeper) | server(Server::Redis),
            Crash(point) => role(victim_of(point)),
            KillServer(of) | FreezeServer(of) => server(of),
            StopPostgresAtOnce => server(Server::Postgres),
            WipeRedis | CutRedisTail | FlushRedis | FlushScripts => server(Server::Redis),
            DeleteQueue => server(Server::RabbitMq),
            PurgeQueue => server(Server::RabbitMq) | server(Server::RabbitMq) << 6,
            Self::Wire(Side::Apis, of, _) => server(of) << 3,
            Self::Wire(Side::Workers, of, _) => server(of) << 6,
            ThreeReconcilers => 1 << 12,
        }
    }

    /// Breaks it; `false` where there was nothing to break.
    pub(crate) async fn begin(self, scene: &mut Scene, hired: &mut Vec<Process>) -> bool {
        match self {
            Kill(role) => victim(scene, role).kill(),
            Freeze(role) => victim(scene, role).freeze(),
            Restart(role) => victim(scene, role).stop().await,
            Crash(point) => {
                // It has to start anew to know where to die; in the middle of its work, where there is enough of it.
                let nth = if matches!(victim_of(point), Role::Api | Role::Persister) { 5 } else { 1 };
                let failpoint = format!("{}=crash@{nth}", point.name());
                let Scene { stack, apis, persisters, keepers, .. } = scene;
                let replica = first_of(apis, persisters, keepers, victim_of(point));
                replica.kill();
                stack.raise(replica, &[("FLASHSALE_FAILPOINT", &failpoint)]);
                if is_in_rebuild(point) {
                    // The other keeper must not be faster than the one that is to die.
                    keepers[1..].iter_mut().for_each(Replica::kill);
                    stack.redis.tell("SCRIPT FLUSH");
                }
            }
            KillServer(Server::Redis) => scene.stack.redis.kill(),
            KillServer(Server::RabbitMq) => scene.stack.rabbitmq.kill(),
            KillServer(Server::Postgres) => scene.stack.postgres.kill(),
            FreezeServer(Server::Redis) => scene.stack.redis.freeze(),
            FreezeServer(Server::RabbitMq) => scene.stack.rabbitmq.freeze(),
            FreezeServer(Server::Postgres) => scene.stack.postgres.freeze(),
            StopPostgresAtOnce => scene.stack.postgres.end_by(Signal::QUIT),
            WipeRedis => scene.stack.redis.kill_and_lose("appendonlydir".as_ref()),
            CutRedisTail => {
                scene.stack.redis.kill();
                scene.stack.redis.lose_tail(2_000);
                scene.stack.redis.start();
            }
            FlushRedis => drop(scene.stack.redis.tell("FLUSHALL")),
            FlushScripts => drop(scene.stack.redis.tell("SCRIPT FLUSH")),
            DeleteQueue | PurgeQueue => return lose_messages(scene, self).await,
            Self::Wire(side, server, trouble) => wire(scene, side, server).set(match trouble {
                Trouble::Slow => Wire::Slow(Duration::from_millis(250)),
                Trouble::ServerMute => Wire::ServerMute,
                Trouble::ClientMute => Wire::ClientMute,
                Trouble::Cut => Wire::Cut,
            }),
            ThreeReconcilers => hired.extend((0..3).map(|_| scene.stack.start("flashsale-reconcile", &[]))),
        }
        true
    }

    /// Makes it whole again. Processes that are down are raised after all faults are over.
    pub(crate) fn end(self, scene: &mut Scene) {
        match self {
            Freeze(role) => victim(scene, role).thaw(),
            KillServer(Server::Redis) => scene.stack.redis.start(),
            KillServer(Server::RabbitMq) => scene.stack.rabbitmq.start(),
            KillServer(Server::Postgres) | StopPostgresAtOnce => scene.stack.postgres.start(),
            FreezeServer(Server::Redis) => scene.stack.redis.thaw(),
            FreezeServer(Server::RabbitMq) => scene.stack.rabbitmq.thaw(),
            FreezeServer(Server::Postgres) => scene.stack.postgres.thaw(),
            Self::Wire(side, server, _) => wire(scene, side, server).set(Wire::Open),
            _ => {}
        }
    }
}

/// Whether only a rebuild reaches this failpoint.
fn is_in_rebuild(point: Point) -> bool {
    point.name().starts_with("reconcile.")
}

/// Who reaches a failpoint.
fn victim_of(point: Point) -> Role {
    match point.name().split('.').next() {
        Some("api" | "broker") => Role::Api,
        Some("persister") => Role::Persister,
        _ => Role::Keeper,
    }
}

fn victim(scene: &mut Scene, role: Role) -> &mut Replica {
    let Scene { apis, persisters, keepers, .. } = scene;
    first_of(apis, persisters, keepers, role)
}

/// The first of a role; the second stays, as replicas are there for.
fn first_of<'a>(
    apis: &'a mut [Replica],
    persisters: &'a mut [Replica],
    keepers: &'a mut [Replica],
    role: Role,
) -> &'a mut Replica {
    match role {
        Role::Api => &mut apis[0],
        Role::Persister => &mut persisters[0],
        Role::Keeper => &mut keepers[0],
    }
}

fn wire(scene: &Scene, side: Side, server: Server) -> &Proxy {
    let wires = if side == Side::Apis { &scene.api_wires } else { &scene.worker_wires };
    match server {
        Server::Redis => &wires.redis,
        Server::RabbitMq => &wires.rabbitmq,
        Server::Postgres => &wires.postgres,
    }
}

/// Deletes or empties the queue of the sale, where no rebuild is doing so.
async fn lose_messages(scene: &Scene, fault: Fault) -> bool {
    let Ok(Some(sale)) = scene.stack.ledger.sale(scene.sale).await else { return false };
    let Ok(Some(drain)) = Drain::lock(&scene.stack.settings().rabbitmq, sale.id).await else { return false };
    let done = if fault == DeleteQueue {
        drain.delete(sale.epoch).await.is_ok()
    } else {
        purge(scene, &drain, sale.epoch).await
    };
    drain.release().await;
    done
}

/// Throws the waiting messages away, with the persisters' wires held shut so that there are some.
async fn purge(scene: &Scene, drain: &Drain, epoch: Epoch) -> bool {
    const ENOUGH: usize = 20;
    scene.worker_wires.rabbitmq.set(Wire::ServerMute);
    let mut lost = 0;
    let started = Instant::now();
    while lost < ENOUGH && started.elapsed() < Duration::from_secs(2) {
        let Ok(message) = drain.get(epoch).await else { break };
        let Some(message) = message else { continue };
        lost += usize::from(drain.ack(message.tag).await.is_ok());
    }
    scene.worker_wires.rabbitmq.set(Wire::Open);
    lost > 0
}

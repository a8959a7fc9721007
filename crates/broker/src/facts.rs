//! What a broker is, and whether it does what we need of it: for whoever looks whether a sale may run on it.

use std::io::ErrorKind;
use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};
use secrecy::ExposeSecret;
use tokio::net::TcpStream;

use crate::connection::{answer, close, connect};
use crate::topology::EXCHANGE;
use crate::{Config, Error};

/// What a client of AMQP 0-9-1 says first. The broker's answer names the product and its version, before any log-in.
const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
/// A frame's head: type, channel, and the payload's length in the last four bytes.
const FRAME_HEAD_BYTES: usize = 7;
const LONGEST_GREETING: u32 = 64 * 1024;
/// The property `version` with its type: a long string, whose length follows in four bytes.
const VERSION_PROPERTY: &[u8] = b"\x07versionS";

/// The broker's version, such as `3.10.8`, as it tells everybody; `None` where it is no RabbitMQ.
///
/// # Errors
/// It is not reached, or says nothing in time.
pub async fn version(config: &Config) -> Result<Option<String>, Error> {
    let uri: AMQPUri = config.url.expose_secret().parse().map_err(|_| Error::Url)?;
    let address = (uri.authority.host, uri.authority.port);
    let greet = async {
        let stream = TcpStream::connect(address).await?;
        stream.writable().await?;
        // So few bytes always fit into a socket that has sent nothing.
        stream.try_write(GREETING)?;
        let head = read(&stream, FRAME_HEAD_BYTES).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]).min(LONGEST_GREETING);
        read(&stream, length as usize).await
    };
    let limit = config.answer_timeout();
    let greeting = tokio::time::timeout(limit, greet).await.map_err(|_| Error::Timeout(limit))?;
    Ok(version_in(&greeting.map_err(lapin::Error::from)?))
}

/// So many bytes.
async fn read(stream: &TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut filled) = (vec![0; length], 0);
    while filled < length {
        stream.readable().await?;
        match stream.try_read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The property `version` of a greeting. Pure.
fn version_in(greeting: &[u8]) -> Option<String> {
    let at = greeting.windows(VERSION_PROPERTY.len()).position(|window| window == VERSION_PROPERTY)?;
    let (length, rest) = greeting[at + VERSION_PROPERTY.len()..].split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    String::from_utf8(rest.get(..length)?.to_vec()).ok()
}

/// Does once, on a queue that is gone afterwards, what our processes do all day: log in, declare, bind, publish and have
/// it confirmed. `Ok(false)`: the broker takes no messages; it is short of memory or disk.
///
/// # Errors
/// It is not reached, or refuses one of these.
pub async fn takes_a_message(config: &Config) -> Result<bool, Error> {
    let connection = connect(config, "doctor").await?;
    let limit = config.answer_timeout();
    let channel = answer(limit, connection.create_channel()).await?;
    answer(limit, declare_and_bind(&channel)).await?;
    let taken = answer(config.confirm_timeout(), publish(&channel)).await;
    let is_blocked = connection.status().blocked();
    close(&connection, Duration::from_secs(1)).await;
    match taken {
        Err(Error::Timeout(_)) if is_blocked => Ok(false),
        taken => taken,
    }
}

/// A queue that goes with its connection, bound to our exchange under a key that nobody uses.
async fn declare_and_bind(channel: &Channel) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, options, FieldTable::default()).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = channel.queue_declare(name().into(), options, FieldTable::default()).await?;
    let (queue, key) = (queue.name().clone(), name().into());
    channel.queue_bind(queue, EXCHANGE.into(), key, QueueBindOptions::default(), FieldTable::default()).await
}

async fn publish(channel: &Channel) -> lapin::Result<bool> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(EXCHANGE.into(), name().into(), options, b"", BasicProperties::default());
    Ok(matches!(sent.await?.await?, Confirmation::Ack(None)))
}

fn name() -> String {
    format!("flashsale.doctor.{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_where_there_is_one() {
        let greeting = b"\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x20\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x063.10.8\x00";
        assert_eq!(version_in(greeting), Some("3.10.8".to_owned()));
        for strange in [b"".as_slice(), b"HTTP/1.1 400", b"\x07versionS", b"\x07versionS\xff\xff\xff\xff3.10.8"] {
            assert_eq!(version_in(strange), None);
        }
    }
}

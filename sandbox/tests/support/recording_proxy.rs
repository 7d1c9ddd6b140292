//! A proxy between a function and the emulated services: passes every byte on and records the function's requests, so that its calls can be
//! compared with its role.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One way to one service.
pub(crate) struct RecordingProxy {
    /// Where the function finds it.
    pub(crate) url: String,
    recorded: Arc<Mutex<Vec<u8>>>,
}

impl RecordingProxy {
    /// Listens in front of the service at this URL (`http://host:port`).
    pub(crate) async fn start(service: &str) -> Self {
        let target: SocketAddr = service.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(forward(caller, target, Arc::clone(&keep)));
            }
        });
        Self { url, recorded: heard }
    }

    /// The IAM actions behind everything that was sent so far. A transaction needs those of its parts (DynamoDB, "IAM and transactions").
    pub(crate) fn actions(&self) -> BTreeSet<String> {
        let text = String::from_utf8_lossy(&self.recorded.lock().unwrap()).into_owned();
        let targets = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("x-amz-target").then(|| value.trim().to_owned())
        });
        let mut actions = BTreeSet::new();
        for target in targets {
            let (service, operation) = target.split_once('.').unwrap();
            match (service, operation) {
                ("DynamoDB_20120810", "TransactWriteItems") => {
                    let parts =
                        [("Put", "PutItem"), ("Update", "UpdateItem"), ("Delete", "DeleteItem"), ("ConditionCheck", "ConditionCheckItem")];
                    let used = parts.iter().filter(|(part, _)| text.contains(&format!("\"{part}\":")));
                    actions.extend(used.map(|(_, action)| format!("dynamodb:{action}")));
                }
                ("DynamoDB_20120810", operation) => drop(actions.insert(format!("dynamodb:{operation}"))),
                ("AmazonSQS", operation) => drop(actions.insert(format!("sqs:{operation}"))),
                ("secretsmanager", operation) => drop(actions.insert(format!("secretsmanager:{operation}"))),
                _ => panic!("{target}: a service that the roles know nothing of"),
            }
        }
        actions
    }
}

async fn forward(caller: TcpStream, target: SocketAddr, keep: Arc<Mutex<Vec<u8>>>) {
    let Ok(service) = TcpStream::connect(target).await else { return };
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_service, mut to_service) = service.into_split();
    let there = async {
        let mut bytes = [0; 8192];
        while let Ok(count) = from_caller.read(&mut bytes).await {
            if count == 0 {
                break;
            }
            keep.lock().unwrap().extend_from_slice(&bytes[..count]);
            if to_service.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_service.shutdown().await;
    };
    let back = async { drop(tokio::io::copy(&mut from_service, &mut to_caller).await) };
    tokio::join!(there, back);
}

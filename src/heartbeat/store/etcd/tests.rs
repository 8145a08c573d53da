//! What a real etcd does only with bad luck: answers that get lost, members that refuse, tokens that end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::{Kind, Write};
use super::*;

/// Status and body; `None` closes the connection without an answer.
type Answer = Option<(u16, Value)>;

/// Answers as a script says.
struct Member {
    endpoint: Endpoint,
    script: Arc<Mutex<VecDeque<(&'static str, Answer)>>>,
    /// Tokens that came with the requests.
    tokens: Arc<Mutex<Vec<Option<String>>>>,
}

impl Member {
    async fn new(script: Vec<(&'static str, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&script), Arc::clone(&tokens));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let answer = service_fn(move |request| answer(shared.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { endpoint, script, tokens }
    }

    fn is_finished(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }
}

type Shared = (Arc<Mutex<VecDeque<(&'static str, Option<(u16, Value)>)>>>, Arc<Mutex<Vec<Option<String>>>>);

async fn answer(
    (script, tokens): Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let token = request.headers().get("authorization").map(|token| token.to_str().unwrap().to_owned());
    tokens.lock().unwrap().push(token);
    let path = request.uri().path().to_owned();
    request.into_body().collect().await.unwrap();
    let (want, answer) = script.lock().unwrap().pop_front().unwrap_or_else(|| panic!("unexpected {path}"));
    assert_eq!(path, want);
    let (status, body) = answer.ok_or(std::io::ErrorKind::ConnectionReset)?;
    Ok::<_, Infallible>(Response::builder().status(status).body(Full::from(body.to_string())).unwrap())
        .map_err(|never| match never {})
}

fn settings(members: &[&Member]) -> EtcdSettings {
    let endpoints = members.iter().map(|member| member.endpoint.clone()).collect();
    EtcdSettings { prefix: "/p".to_owned(), ..EtcdSettings::new(endpoints, "me") }
}

const RANGE: &str = "/v3/kv/range";
const AUTHENTICATE: &str = "/v3/auth/authenticate";

fn ok(body: Value) -> Answer {
    Some((200, body))
}

fn error(status: u16, code: u64, message: &str) -> Answer {
    Some((status, json!({"code": code, "message": message, "error": message})))
}

#[tokio::test]
async fn another_member_is_asked_when_one_cannot_answer() {
    let answer = json!({"header": {"revision": "5"}});
    for bad in [None, error(503, 14, "etcdserver: no leader"), error(504, 4, "etcdserver: request timed out")]
    {
        let first = Member::new(vec![(RANGE, bad.clone())]).await;
        let second = Member::new(vec![(RANGE, ok(answer.clone())), (RANGE, ok(answer.clone()))]).await;
        let mut client = Client::new(&settings(&[&first, &second]));
        assert_eq!(client.call(RANGE, &json!({})).await.unwrap(), answer);
        assert!(client.was_repeated);
        assert_eq!(client.call(RANGE, &json!({})).await.unwrap(), answer);
        assert!(!client.was_repeated && first.is_finished() && second.is_finished(), "{bad:?}");
    }
    let full = "etcdserver: mvcc: database space exceeded";
    let first = Member::new(vec![(RANGE, error(429, 8, full))]).await;
    let second = Member::new(vec![]).await;
    let refused = Client::new(&settings(&[&first, &second])).call(RANGE, &json!({})).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{} refused: {full}", first.endpoint));
}

#[tokio::test]
async fn a_token_that_has_ended_is_replaced_once() {
    let token = |token: &str| ok(json!({"token": token}));
    let invalid = || error(401, 16, "etcdserver: invalid auth token");
    let member = Member::new(vec![
        (AUTHENTICATE, token("one")),
        (RANGE, ok(json!({}))),
        (RANGE, invalid()),
        (AUTHENTICATE, token("two")),
        (RANGE, ok(json!({}))),
        (RANGE, invalid()),
        (AUTHENTICATE, token("three")),
        (RANGE, invalid()),
    ])
    .await;
    let mut settings = settings(&[&member]);
    settings.user = Some(("root".to_owned(), Secret::from("geheim")));
    assert!(!format!("{settings:?}").contains("geheim"));
    let mut client = Client::new(&settings);
    client.call(RANGE, &json!({})).await.unwrap();
    client.call(RANGE, &json!({})).await.unwrap();
    let refused = client.call(RANGE, &json!({})).await.unwrap_err();
    assert!(refused.to_string().ends_with("refused: etcdserver: invalid auth token"), "{refused}");
    let want = [None, Some("one"), Some("one"), None, Some("two"), Some("two"), None, Some("three")];
    let got: Vec<_> = member.tokens.lock().unwrap().clone();
    assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
}

/// A committer without watch and lease, on a scripted member.
async fn committer(member: &Member) -> (Store, tokio::task::JoinHandle<()>) {
    let settings = settings(&[member]);
    let keys = Keys::new(&settings.prefix, "me", "me-1");
    let client = Client::new(&settings);
    let metrics = Arc::new(StoreMetrics::default());
    let (queue, worker) = queue(Arc::clone(&metrics));
    let shared = Arc::new(super::Shared { keys, settings, metrics, removing: Mutex::default() });
    let (stop, _) = tokio::sync::oneshot::channel();
    let committer = commit::Committer::new(client, shared, worker, JoinSet::new(), stop);
    (Store { queue: Arc::new(queue), backend: "etcd" }, tokio::spawn(committer.run()))
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_no_conflict() {
    const TXN: &str = "/v3/kv/txn";
    let key = keys::encode("/p/definitions/a/x");
    let found = |value: &str| {
        let kv = json!({"key": key, "value": keys::encode(value), "mod_revision": "7"});
        json!({"responses": [{"response_range": {"kvs": [kv]}}]})
    };
    let cases = [("me-1\nnew", Ok(())), ("other-1\nnew", Err(StoreError::Conflict))];
    for (stored, want) in cases {
        // Carried out, answered by a reset, and then refused because it has been carried out.
        let member = Member::new(vec![(RANGE, ok(json!({}))), (TXN, None), (TXN, ok(found(stored)))]).await;
        let (store, task) = committer(&member).await;
        let writes = vec![
            Write::Expect { key: "a/x".into(), value: None },
            Write::set(Kind::Definition, "a/x", *b"new"),
        ];
        assert_eq!(store.commit(writes).unwrap().durable().await, want, "{stored}");
        assert!(member.is_finished());
        store.close(Duration::from_secs(5)).await;
        task.await.unwrap();
    }
}

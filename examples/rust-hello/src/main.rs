//! Says hello, with AWS's own library for Rust.
use lambda_runtime::{run, service_fn, Error, LambdaEvent};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    greeting: String,
    request: String,
}

async fn hello(event: LambdaEvent<Event>) -> Result<Greeting, Error> {
    let (event, context) = event.into_parts();
    if event.name.is_empty() {
        return Err(r#"the event has no name; send {"name": "Ada"}"#.into());
    }
    Ok(Greeting {
        greeting: format!("Hello, {}", event.name),
        request: context.request_id,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(hello)).await
}

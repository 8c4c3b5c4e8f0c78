//! What PHP gives a script: every function and variable a web script may expect of its server.

mod environment;
mod limits;
mod logging;
mod process;
mod request;
mod response;
mod session;
mod uploads;

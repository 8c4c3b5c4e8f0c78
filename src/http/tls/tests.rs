//! Certificates are made for each test; clients are rustls's.

use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    tickets::{Keys, Tickets},
    x509::Certificate,
    *,
};
use crate::worker::Secure;

/// An authority, and a directory for what it signs, which goes away with the test.
struct Office {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key, as a client takes them.
type Card = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Office {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = std::env::temp_dir().join(format!("rr-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        Self { authority, directory }
    }

    /// Signs a certificate for `names` and writes it under `file`.
    fn sign(&self, file: &str, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let pair = Pair { chain: self.directory.join(format!("{file}.pem")), key: self.directory.join(format!("{file}.key")) };
        fs::write(&pair.chain, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// A client's certificate that is good no more.
    fn expired(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.signed_by(&KeyPair::generate().unwrap(), &self.authority).unwrap().into()
    }

    fn card(&self, file: &str) -> Card {
        let pair = self.sign(file, &["client"]);
        (certificates::chain(&pair.chain).unwrap(), PrivateKeyDer::from_pem_file(&pair.key).unwrap())
    }

    fn config(&self, certificates: Vec<Pair>) -> Config {
        Config {
            certificates,
            acme: None,
            root_ca: Some(self.directory.join("ca.pem")),
            client_auth: ClientAuth::None,
            profile: Profile::Intermediate,
            resumption: Resumption::Tickets { keys: Tickets::new(Keys::new()), lifetime: Duration::from_secs(60) },
            handshake_timeout: Duration::from_secs(60),
            max_handshakes: 10,
        }
    }

    /// What a client does that trusts this authority.
    fn client(&self, card: Option<Card>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        match card {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// One handshake; what the server knows, and the client's connection.
async fn meet(tls: &Tls, client: ClientConfig, name: &str) -> Result<(Arc<Secure>, TlsStream<DuplexStream>), String> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (greeted, connected) = tokio::join!(tls.greet(ours), connector.connect(name, theirs));
    let greeted = greeted.map_err(|error| error.to_string())?;
    Ok((greeted.secure, connected.map_err(|error| error.to_string())?))
}

fn value<'a>(secure: &'a Secure, name: &str) -> Option<&'a str> {
    secure.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

fn shown_name(stream: &TlsStream<DuplexStream>) -> String {
    let (_, session) = stream.get_ref();
    Certificate::parse(&session.peer_certificates().unwrap()[0]).unwrap().subject().common_name().unwrap()
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let office = Office::new("sni");
    let pairs = vec![
        office.sign("one", &["one.test", "other.test"]),
        office.sign("two", &["two.test", "*.two.test"]),
        office.sign("late", &["two.test"]),
    ];
    let tls = office.config(pairs).build().unwrap();
    for (name, expected) in [("one.test", "one"), ("two.test", "two"), ("www.two.test", "two"), ("other.test", "one")] {
        let (secure, stream) = meet(&tls, office.client(None), name).await.unwrap();
        assert_eq!(shown_name(&stream), expected, "{name}");
        assert_eq!(value(&secure, "SSL_TLS_SNI"), Some(name));
    }
    for unknown in ["a.b.two.test", "three.test"] {
        let error = meet(&tls, office.client(None), unknown).await.map(drop).unwrap_err();
        assert!(!error.is_empty(), "{unknown}: the first certificate is not for it, which the client finds");
    }
}

#[tokio::test]
async fn the_word_of_an_authority_goes_with_the_certificate() {
    let office = Office::new("ocsp");
    let pair = office.sign("one", &["one.test"]);
    let tls = office.config(vec![pair.clone()]).build().unwrap();
    let stapled = || tls.0.current.read().certificates.stapled("one.test");
    assert_eq!(stapled(), None);
    fs::write(office.directory.join("one.pem.ocsp"), "good").unwrap();
    tls.look();
    assert_eq!(stapled().as_deref(), Some(&b"good"[..]));
    fs::write(office.directory.join("one.pem.ocsp"), "").unwrap();
    tls.look();
    assert_eq!(stapled(), None);
    meet(&tls, office.client(None), "one.test").await.unwrap();
}

#[tokio::test]
async fn clients_are_asked_for_certificates_in_five_ways() {
    let (office, stranger) = (Office::new("clients"), Office::new("stranger"));
    let pair = office.sign("server", &["server.test"]);
    // Whether a handshake succeeds without a certificate, with a stranger's, and with one of ours; and what is known then.
    let table = [
        (ClientAuth::None, [Some(None), Some(None), Some(None)]),
        (ClientAuth::Request, [Some(Some("NONE")), Some(Some("GENEROUS")), Some(Some("GENEROUS"))]),
        (ClientAuth::RequireAny, [None, Some(Some("GENEROUS")), Some(Some("GENEROUS"))]),
        (ClientAuth::VerifyIfGiven, [Some(Some("NONE")), None, Some(Some("SUCCESS"))]),
        (ClientAuth::RequireAndVerify, [None, None, Some(Some("SUCCESS"))]),
    ];
    for (client_auth, expected) in table {
        let tls = Config { client_auth, ..office.config(vec![pair.clone()]) }.build().unwrap();
        let cards = [None, Some(stranger.card("mallory")), Some(office.card("alice"))];
        for (at, (card, expected)) in cards.into_iter().zip(expected).enumerate() {
            let met = meet(&tls, office.client(card), "server.test").await;
            let known = met.as_ref().ok().map(|(secure, _)| value(secure, "SSL_CLIENT_VERIFY"));
            assert_eq!(known, expected, "{client_auth:?}, {at}: {:?}", met.as_ref().err());
        }
    }
}

#[tokio::test]
async fn a_resumed_session_is_worth_no_more_than_the_certificate_it_began_with() {
    let office = Office::new("resumed");
    let pair = office.sign("server", &["server.test"]);
    let tls = Config { client_auth: ClientAuth::RequireAndVerify, ..office.config(vec![pair]) }.build().unwrap();
    let alice = office.client(Some(office.card("alice")));
    let resumed = async |tls: &Tls| {
        let (secure, mut stream) = meet(tls, alice.clone(), "server.test").await?;
        // The ticket comes after the handshake, and nothing else does.
        assert!(stream.read_u8().await.is_err());
        Ok::<_, String>(value(&secure, "SSL_SESSION_RESUMED") == Some("Resumed"))
    };
    assert_eq!((resumed(&tls).await, resumed(&tls).await), (Ok(false), Ok(true)));
    let chain = vec![office.card("bob").0.remove(0)];
    assert!(tls.still_trusts(Some(&chain)) && !tls.still_trusts(None) && !tls.still_trusts(Some(&[])));
    let expired = office.expired("carol");
    assert!(!tls.still_trusts(Some(&[expired])), "she could show hers when her session began");
    let anyone = Config { client_auth: ClientAuth::None, ..tls.0.config.clone() }.build().unwrap();
    assert!(anyone.still_trusts(None));
}

#[tokio::test]
async fn scripts_are_told_who_the_client_is() {
    let office = Office::new("facts");
    let pair = office.sign("server", &["server.test"]);
    let tls = Config { client_auth: ClientAuth::RequireAndVerify, ..office.config(vec![pair]) }.build().unwrap();
    let (secure, _stream) = meet(&tls, office.client(Some(office.card("alice"))), "server.test").await.unwrap();
    let of = |name| value(&secure, name).unwrap_or_else(|| panic!("no {name} in {secure:?}"));
    assert_eq!((of("SSL_PROTOCOL"), of("SSL_CLIENT_S_DN"), of("SSL_CLIENT_S_DN_CN")), ("TLSv1.3", "CN=alice", "alice"));
    assert_eq!((of("SSL_CLIENT_I_DN"), of("SSL_CLIENT_I_DN_CN")), ("O=Acme\\, Inc.,CN=Test CA", "Test CA"));
    assert!(of("SSL_CIPHER").starts_with("TLS_"), "{}", of("SSL_CIPHER"));
    assert_eq!((of("SSL_CLIENT_V_START"), of("SSL_CLIENT_V_END")), ("Jan  1 00:00:00 1975 GMT", "Jan  1 00:00:00 4096 GMT"));
    assert!(of("SSL_CLIENT_CERT").starts_with("-----BEGIN CERTIFICATE-----\nMII"), "{}", of("SSL_CLIENT_CERT"));
    assert!(of("SSL_CLIENT_M_SERIAL").bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", of("SSL_CLIENT_M_SERIAL"));
}

#[tokio::test]
async fn profiles_choose_the_versions_and_protocols_are_agreed_on() {
    let office = Office::new("profiles");
    let pair = office.sign("server", &["server.test"]);
    let older = |office: &Office| {
        let mut roots = RootCertStore::empty();
        roots.add(office.authority.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        builder.with_protocol_versions(&[&TLS12]).unwrap().with_root_certificates(roots).with_no_client_auth()
    };
    let intermediate = office.config(vec![pair.clone()]).build().unwrap();
    let (secure, _stream) = meet(&intermediate, older(&office), "server.test").await.unwrap();
    assert_eq!((value(&secure, "SSL_PROTOCOL"), value(&secure, "SSL_SESSION_RESUMED")), (Some("TLSv1.2"), Some("Initial")));
    assert_eq!(value(&secure, "SSL_CIPHER"), Some("ECDHE-ECDSA-AES256-GCM-SHA384"));
    let modern = Config { profile: Profile::Modern, ..office.config(vec![pair]) }.build().unwrap();
    assert!(meet(&modern, older(&office), "server.test").await.is_err());
    let mut client = office.client(None);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (_, stream) = meet(&modern, client, "server.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn certificates_that_change_are_taken_up_and_broken_ones_are_not() {
    let office = Office::new("change");
    let pair = office.sign("server", &["server.test"]);
    let tls = office.config(vec![pair.clone()]).build().unwrap();
    let serial = async || {
        let (_, stream) = meet(&tls, office.client(None), "server.test").await.unwrap();
        Certificate::parse(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap().serial()
    };
    let first = serial().await;
    tls.look();
    assert_eq!(serial().await, first);
    let key = fs::read(&pair.key).unwrap();
    office.sign("server", &["server.test"]);
    let new_key = fs::read(&pair.key).unwrap();
    fs::write(&pair.key, key).unwrap();
    tls.look();
    assert_eq!(serial().await, first, "the certificate is new, its key is not yet");
    fs::write(&pair.key, new_key).unwrap();
    tls.look();
    let second = serial().await;
    assert_ne!(second, first);
    fs::remove_file(&pair.chain).unwrap();
    tls.look();
    assert_eq!(serial().await, second);
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let office = Office::new("slow");
    let pair = office.sign("server", &["server.test"]);
    let tls =
        Config { max_handshakes: 1, handshake_timeout: Duration::from_millis(50), ..office.config(vec![pair]) }.build().unwrap();
    let (ours, mut silent) = tokio::io::duplex(1024);
    assert!(matches!(tls.greet(ours).await, Err(Refused::Timeout)));
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "closed");
    // With all places taken, who has said its part waits no longer than that either.
    let _place = tls.0.permits.acquire().await.unwrap();
    assert_eq!(meet(&tls, office.client(None), "server.test").await.map(drop).unwrap_err(), Refused::Timeout.to_string());
}

#[tokio::test]
async fn who_says_nothing_more_takes_no_place() {
    let office = Office::new("silent");
    let pair = office.sign("server", &["server.test"]);
    let tls = Config { max_handshakes: 1, ..office.config(vec![pair]) }.build().unwrap();
    let (ours, _silent) = tokio::io::duplex(1024);
    let (too, mut half) = tokio::io::duplex(64 * 1024);
    let mut hello = Vec::new();
    let name = ServerName::try_from("server.test").unwrap();
    rustls::ClientConnection::new(Arc::new(office.client(None)), name).unwrap().write_tls(&mut hello).unwrap();
    half.write_all(&hello).await.unwrap();
    let third = async {
        // Each of the others has had its turn once the second is answered.
        half.read_u8().await.unwrap();
        meet(&tls, office.client(None), "server.test").await.map(drop)
    };
    tokio::select! {
        biased;
        _ = tls.greet(ours) => panic!("it has said nothing"),
        _ = tls.greet(too) => panic!("it has said no more than hello"),
        met = tokio::time::timeout(Duration::from_secs(20), third) => assert_eq!(met.expect("in time"), Ok(())),
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let office = Office::new("wrong");
    let (one, two) = (office.sign("one", &["one.test"]), office.sign("two", &["two.test"]));
    let ca = office.directory.join("ca.pem");
    let shown = |pair: &Pair| office.config(vec![pair.clone()]).build().unwrap_err().to_string();
    let (chain, key) = (one.chain.display(), one.key.display());
    assert_eq!(
        shown(&Pair { key: two.key.clone(), ..one.clone() }),
        format!("{}: not the key of the certificate in {chain}", two.key.display())
    );
    assert_eq!(
        shown(&Pair { key: ca.clone(), ..one.clone() }),
        format!("{}: no private key in PEM format is in it", ca.display())
    );
    assert_eq!(shown(&Pair { chain: one.key.clone(), ..one.clone() }), format!("{key}: no certificate in PEM format is in it"));
    let gone = office.directory.join("gone");
    assert!(shown(&Pair { chain: gone.clone(), ..one.clone() }).starts_with(&format!("{}: No such file", gone.display())));
}

#[test]
fn names_are_shown_so_that_nothing_can_hide_in_them() {
    let office = Office::new("names");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "CZ");
    params.distinguished_name.push(DnType::CommonName, " a,b\n/CN=root ");
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &office.authority).unwrap();
    let parsed = Certificate::parse(certificate.der()).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=\\ a\\,b\\0A/CN=root\\ ,C=CZ");
    for end in 0..certificate.der().len() {
        assert!(Certificate::parse(&certificate.der()[..end]).is_none(), "cut at {end}");
    }
    let mut readable = 0;
    for at in 0..certificate.der().len() {
        for byte in [0, 1, 0x7f, 0x80, 0x84, 0xff] {
            let mut bytes = certificate.der().to_vec();
            bytes[at] = byte;
            if let Some(parsed) = Certificate::parse(&bytes) {
                readable += 1;
                drop((parsed.subject().to_string(), parsed.issuer().common_name(), parsed.validity(), parsed.dns_names()));
            }
        }
    }
    assert!(readable > 100, "none of these may panic: {readable}");
}

#[test]
fn a_certificate_says_how_long_it_is_good() {
    let cases = [((2000, 2, 29), 951_782_400), ((2024, 3, 1), 1_709_251_200), ((2050, 12, 31), 2_556_057_600)];
    for ((year, month, day), seconds) in cases {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1999, 12, 31);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let lifetime = Certificate::parse(certificate.der()).unwrap().lifetime().unwrap();
        let seconds_of = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((seconds_of(lifetime.0), seconds_of(lifetime.1)), (946_598_400, seconds), "{year}");
    }
}

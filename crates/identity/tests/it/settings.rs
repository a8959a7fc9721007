//! Settings that do not fit each other are named before anything starts.

use identity::{Algorithm, Config, Mint, Mode, Verifier};

use crate::tokens::config;

#[test]
fn settings_that_do_not_fit_are_refused_with_their_field() {
    let hs256 = || config(Algorithm::HS256);
    let rs256 = || config(Algorithm::RS256);
    let folder = std::env::temp_dir();
    let no_keys = folder.join(format!("no-keys-{}.json", std::process::id()));
    std::fs::write(&no_keys, "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}").unwrap();
    for (config, field) in [
        (Config { hs256_secret: "".into(), ..hs256() }, "auth.hs256_secret"),
        (Config { hs256_secret: "planted-secret-of-31-characters".into(), ..hs256() }, "auth.hs256_secret"),
        (Config { issuer: String::new(), ..hs256() }, "auth.issuer"),
        (Config { audience: String::new(), ..rs256() }, "auth.audience"),
        (Config { token_seconds: 0, ..hs256() }, "auth.token_seconds"),
        (Config { jwks_refresh_seconds: 0, ..rs256() }, "auth.jwks_refresh_seconds"),
        (Config { jwks: String::new(), ..rs256() }, "auth.jwks"),
        (Config { jwks: "/nowhere/keys.json".to_owned(), ..rs256() }, "auth.jwks"),
        (Config { jwks: "http://keys.example/keys".to_owned(), ..rs256() }, "auth.jwks"),
        (Config { jwks: "http://localhost:1@keys.example/keys".to_owned(), ..rs256() }, "auth.jwks"),
        (Config { jwks: no_keys.to_str().unwrap().to_owned(), ..rs256() }, "auth.jwks"),
        (Config { accounts: true, ..rs256() }, "auth.accounts"),
        (Config { accounts: true, mode: Mode::Trusted, ..hs256() }, "auth.accounts"),
    ] {
        let problem = config.check().err().or_else(|| Verifier::new(&config).err()).expect(field).to_string();
        assert!(problem.contains(field), "{field}: {problem}");
        assert!(!problem.contains("planted"), "{problem}");
    }
    std::fs::remove_file(&no_keys).unwrap();
    assert!(Config { mode: Mode::Trusted, hs256_secret: "".into(), ..hs256() }.check().is_ok());
    assert!(Mint::new(&"short".into(), "a", "b", 1).is_err());
    let secret = Config { hs256_secret: "planted-secret-of-32-characters.".into(), ..hs256() };
    assert!(secret.check().is_ok());
    assert!(!format!("{secret:?}").contains("planted"));
}

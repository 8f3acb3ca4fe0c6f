//! Logging in by SCRAM-SHA-256 (RFC 5802 and 7677): the password is proved and never sent, and the server proves that it knows it too.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::bson::base64;

/// How often a server may have a password hashed. Fewer are too easily tried out.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// The header of a client that binds to no channel, as base64.
const HEADER: &str = "biws";

/// One attempt, with a nonce of its own.
pub(super) struct Attempt {
    bare: String,
    nonce: String,
}

impl Attempt {
    pub fn new(user: &str, random: &[u8]) -> Self {
        let nonce = encoded(random);
        Attempt { bare: format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C")), nonce }
    }

    /// What the client says first.
    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The proof for what the server said first, and what it must say last. `None` where that is not of this protocol.
    pub fn proof(&self, password: &str, said: &str) -> Option<(String, String)> {
        let mut parts = said.split(',');
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| nonce.starts_with(&self.nonce))?;
        let salt = base64::decode(parts.next()?.strip_prefix("s=")?.as_bytes())?;
        let rounds = parts.next()?.strip_prefix("i=")?.parse().ok().filter(|rounds| ROUNDS.contains(rounds))?;
        let salted = hashed(password.as_bytes(), &salt, rounds);
        let client = hmac(&salted, &[b"Client Key"]);
        let without_proof = format!("c={HEADER},r={nonce}");
        let all = format!("{},{said},{without_proof}", self.bare);
        let signature = hmac(&Sha256::digest(client), &[all.as_bytes()]);
        let proof: Vec<u8> = client.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        let of_server = hmac(&hmac(&salted, &[b"Server Key"]), &[all.as_bytes()]);
        Some((format!("{without_proof},p={}", encoded(&proof)), format!("v={}", encoded(&of_server))))
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    base64::encode(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

/// PBKDF2 with HMAC-SHA-256, its first block.
fn hashed(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let mut last = hmac(password, &[salt, &1u32.to_be_bytes()]);
    let mut all = last;
    for _ in 1..rounds {
        last = hmac(password, &[&last]);
        all.iter_mut().zip(last).for_each(|(all, last)| *all ^= last);
    }
    all
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[&[u8]]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    text.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proves_as_the_standard_says() {
        // RFC 7677, section 3.
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let attempt = Attempt { bare: format!("n=user,r={nonce}"), nonce: nonce.into() };
        let said = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (proof, last) = attempt.proof("pencil", said).unwrap();
        let wanted = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!((proof.as_str(), last.as_str()), (wanted, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        // What a server must not say.
        for wrong in
            ["r=rOprNGfwEbeRWgbNEkqO,s=W22=,i=1", "r=x,s=W22Z,i=4096", "r=rOprNGfwEbeRWgbNEkqO,s=!,i=4096", "e=other"]
        {
            assert!(attempt.proof("pencil", wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_long_key_is_hashed() {
        // RFC 4231, test case 6.
        let key = [0xaa; 131];
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(encoded(&hmac(&key, &[text])), "YOQxWR7gtn8Niiaqy/W3f44LxiE3KMUUBUYEDw7jf1Q=");
    }

    #[test]
    fn a_name_takes_no_field_of_its_own() {
        assert!(Attempt::new("a,r=b", b"xyz").first().starts_with("n,,n=a=2Cr=3Db,r="));
    }
}

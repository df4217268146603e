//! Who may ask, and how much at a time.

use std::fmt;
use std::net::SocketAddr;

use tenon_store::Digest;

use crate::error::ApiError;

/// How the API is offered.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may ask.
    pub access: Access,
    /// The largest bodies.
    pub limits: BodyLimits,
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Programs of this machine: requests must be for a loopback host and not come from the page of
    /// another site. Only for loopback addresses.
    #[default]
    Loopback,
    /// Whoever has the token.
    Token(Token),
    /// The process itself, which calls the router without a network. Never served.
    InProcess,
}

impl Access {
    /// Whether the API may be offered at this address.
    ///
    /// # Errors
    /// An address beyond this machine without a token.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), ApiError> {
        match self {
            Self::Token(_) => Ok(()),
            Self::Loopback if address.ip().is_loopback() => Ok(()),
            Self::Loopback => Err(ApiError::invalid(format!(
                "{address} can be reached from other machines, and no token is set"
            ))
            .with_hint("set a token that every request must carry, or listen on 127.0.0.1")),
            Self::InProcess => Err(ApiError::internal(
                "the API of a process for itself cannot be offered at an address",
            )),
        }
    }
}

/// The shortest token that is accepted: shorter ones are guessed.
const SHORTEST_TOKEN: usize = 16;

/// What a request must carry as `Authorization: Bearer …`. Only its digest is kept.
#[derive(Clone)]
pub struct Token(Digest);

impl Token {
    /// A token of at least 16 printable ASCII characters.
    ///
    /// # Errors
    /// A text that is none.
    pub fn new(text: &str) -> Result<Self, ApiError> {
        if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiError::invalid(format!(
                "a token has at least {SHORTEST_TOKEN} printable ASCII characters without spaces"
            ))
            .with_hint("make one with `openssl rand -hex 32`"));
        }
        Ok(Self(Digest::of(text.as_bytes())))
    }

    /// Whether a text is the token. Takes the same time wherever they differ.
    pub(crate) fn is(&self, text: &str) -> bool {
        let given = Digest::of(text.as_bytes());
        let pairs = self.0.as_bytes().iter().zip(given.as_bytes());
        let differs = pairs.fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        differs == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The largest bodies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// JSON.
    pub json: u64,
    /// A component.
    pub component: u64,
    /// A `tokenizer.json`.
    pub tokenizer: u64,
    /// An upload of files, all together. They are written to the disk as they come, so that the disk is
    /// what bounds them.
    pub upload: u64,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            // A prediction of some thousand rows; longer lists belong into a dataset.
            json: 16 << 20,
            // A Python component with its libraries is 20 MiB.
            component: 256 << 20,
            // The largest public vocabularies are 35 MiB.
            tokenizer: 128 << 20,
            upload: 1 << 40,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_loopback_is_offered_without_a_token() {
        let open = Access::Loopback;
        for fine in ["127.0.0.1:1", "127.3.2.1:80", "[::1]:8421"] {
            open.check_address(fine.parse().unwrap()).unwrap();
        }
        let token = Access::Token(Token::new("0123456789abcdef").unwrap());
        for beyond in ["0.0.0.0:1", "192.168.1.2:80", "[::]:8421"] {
            let address = beyond.parse().unwrap();
            let error = open.check_address(address).unwrap_err();
            assert!(error.to_string().contains("token"), "{error}");
            token.check_address(address).unwrap();
        }
        let inside = Access::InProcess.check_address("127.0.0.1:1".parse().unwrap());
        assert!(inside.is_err());
    }

    #[test]
    fn a_token_is_itself_only() {
        for bad in [
            "",
            "short",
            "has spaces in it somewhere",
            "tökentökentöken!",
        ] {
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcdeF",
            "0123456789abcdef0",
            "0123456789abcde",
        ] {
            assert!(!token.is(other), "{other:?}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }
}

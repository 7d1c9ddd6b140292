//! The terminal that a person types at.

use std::io::{self, Write};

use connector::secret::SecretString;

/// What a command asks of a person.
pub trait Terminal: Send + Sync {
    /// Asks for a secret and shows nothing of what is typed.
    ///
    /// # Errors
    /// If there is no terminal.
    fn secret(&self, question: &str) -> io::Result<SecretString>;

    /// Asks whether to go on; anything but `yes` is no.
    ///
    /// # Errors
    /// If there is no terminal.
    fn confirm(&self, question: &str) -> io::Result<bool>;
}

/// The terminal of the process.
pub struct ProcessTerminal;

impl Terminal for ProcessTerminal {
    fn secret(&self, question: &str) -> io::Result<SecretString> {
        rpassword::prompt_password(question).map(SecretString::new)
    }

    fn confirm(&self, question: &str) -> io::Result<bool> {
        write!(io::stderr(), "{question}")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer.trim() == "yes")
    }
}

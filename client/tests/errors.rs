//! The error type from outside. How failures become errors is tested beside the table, in `src/error`.

use std::{error::Error as _, fmt, io};

use tikv::{
    Config, Error, ErrorKind,
    error::{Advice, Detail},
};

#[test]
fn an_error_is_one_pointer_and_goes_everywhere() {
    fn goes_everywhere<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    goes_everywhere::<Error>();
    assert_eq!(size_of::<Error>(), 8);
    assert_eq!(size_of::<tikv::Result<()>>(), 8);
}

#[test]
fn an_error_becomes_a_boxed_one_and_comes_back() {
    fn fails() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Config::new(["pd"]).validate()?;
        Ok(())
    }
    let boxed = fails().unwrap_err();
    let error: &Error = boxed.downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(
        (error.advice(), error.detail()),
        (Advice::Never, Detail::None)
    );
    assert_eq!(error.context().operation, "Config::validate");
    assert!(error.source().is_none());
}

#[derive(Debug)]
struct Refusal(io::Error);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the schema has changed")
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_error_of_the_application_keeps_its_type_and_its_causes() {
    let error = Error::custom(Refusal(io::Error::other("lease lost")));
    let copy = error.clone();
    drop(error);
    assert_eq!(copy.kind(), ErrorKind::Custom);
    assert_eq!(copy.to_string(), "the schema has changed");
    assert_eq!(
        copy.downcast_ref::<Refusal>()
            .map(|refusal| refusal.0.kind()),
        Some(io::ErrorKind::Other)
    );
    assert!(copy.downcast_ref::<io::Error>().is_none());
    assert_eq!(
        copy.source().map(ToString::to_string).as_deref(),
        Some("lease lost")
    );
    assert!(!copy.is_retryable() && !copy.is_undetermined());
}

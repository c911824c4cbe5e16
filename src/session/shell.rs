//! The shell that a person gets.

use crate::engine::sessions::Size;

/// Finds the login shell of a user in the container and becomes it. The user database is read inside, since that costs
/// nothing there, and a request takes as long as all the rest.
///
/// An engine before API 1.42 gives a terminal its size only after the first program in it has begun.
const LOGIN: &str = r#"user=$1 shell=
case $(stty size 2>/dev/null) in "0 0") stty rows "$2" cols "$3" ;; esac
while IFS=: read -r name _ uid _ _ _ path; do
  if [ "$uid" = "$user" ] || [ "$name" = "$user" ]; then shell=$path; break; fi
done 2>/dev/null </etc/passwd
case $shell in */nologin | */false) shell= ;; esac
[ -x "$shell" ] || shell=sh
exec "$shell" -l"#;
/// The size of a terminal that nobody knows.
const USUAL: Size = Size {
    rows: 24,
    columns: 80,
};

/// Returns the command that is a user's login shell in a terminal of a size; the user is as the engine writes it.
pub fn login(user: Option<&str>, size: Option<Size>) -> Vec<String> {
    let user = user.unwrap_or_default().split(':').next().unwrap_or_default();
    let user = if user.is_empty() { "0" } else { user };
    let Size { rows, columns } = size.unwrap_or(USUAL);
    let (rows, columns) = (rows.to_string(), columns.to_string());
    ["sh", "-c", LOGIN, "sh", user, &rows, &columns]
        .map(str::to_owned)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_number_or_name() {
        for (user, expected) in [
            (Some("1000:1000"), "1000"),
            (Some("me"), "me"),
            (Some(""), "0"),
            (None, "0"),
        ] {
            assert_eq!(login(user, None)[4..], [expected, "24", "80"]);
        }
    }
}

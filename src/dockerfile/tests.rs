use super::*;

const MOUNT: &str = " --mount=type=bind,source=.aishell,target=/dev/aishell";
const ARGUMENTS: &str = "ARG SSL_CERT_FILE=/dev/aishell/ca.pem CURL_CA_BUNDLE=/dev/aishell/ca.pem \
    REQUESTS_CA_BUNDLE=/dev/aishell/ca.pem PIP_CERT=/dev/aishell/ca.pem NODE_EXTRA_CA_CERTS=/dev/aishell/ca.pem \
    GIT_SSL_CAINFO=/dev/aishell/ca.pem CARGO_HTTP_CAINFO=/dev/aishell/ca.pem APT_CONFIG=/dev/aishell/apt.conf\n";

/// Returns the text with certificates; `@` stands for the mount, `%` for the arguments.
fn certified(text: &str) -> String {
    let prepared = prepare(text, true, false);
    assert_eq!(prepared.below, "", "{text}");
    prepared.text.replace(MOUNT, "@").replace(ARGUMENTS, "%")
}

#[test]
fn without_certificates_and_copies_of_everything_nothing_changes() {
    let text = "# syntax=x\nFROM a\nCOPY a b /c/\nRUN \\\n  x\nCOPY --from=b . /\n";
    assert_eq!(
        prepare(text, false, false),
        Prepared {
            text: text.to_owned(),
            below: ""
        }
    );
}

#[test]
fn certificates_are_seen_by_every_run_of_every_stage() {
    for (text, expected) in [
        ("FROM a\nRUN x\n", "FROM a\n%RUN@ x\n"),
        // The last line has no end.
        ("FROM a", "FROM a\n%"),
        ("FROM a\nRUN x", "FROM a\n%RUN@ x"),
        // Stages.
        (
            "ARG V=1\nFROM a:$V AS one\nRUN x\nFROM one\nRUN y\n",
            "ARG V=1\nFROM a:$V AS one\n%RUN@ x\nFROM one\n%RUN@ y\n",
        ),
        ("FROM a \\\n  AS b\nRUN x\n", "FROM a \\\n  AS b\n%RUN@ x\n"),
        // Any case, indented, with tabs.
        ("from a\n  run\tx\nRun y\n", "from a\n%  run@\tx\nRun@ y\n"),
        // The exec form, and flags that are already there.
        ("RUN [\"a\", \"b\"]\n", "RUN@ [\"a\", \"b\"]\n"),
        (
            "RUN --mount=type=cache,target=/c --network=none x\n",
            "RUN@ --mount=type=cache,target=/c --network=none x\n",
        ),
        // Continued lines, with comments and empty lines between them.
        (
            "RUN a && \\\n  # RUN no\n\n  RUN no\nRUN b\n",
            "RUN@ a && \\\n  # RUN no\n\n  RUN no\nRUN@ b\n",
        ),
        ("RUN \\\n  a\n", "RUN@ \\\n  a\n"),
        ("RUN a \\  \n  RUN no\n", "RUN@ a \\  \n  RUN no\n"),
        ("RUN a \\\\\nRUN b\n", "RUN@ a \\\\\nRUN@ b\n"),
        (
            "RUN a \\\r\n RUN no\r\nRUN b\r\n",
            "RUN@ a \\\r\n RUN no\r\nRUN@ b\r\n",
        ),
        // Another escape character.
        (
            "# escape=`\nRUN a `\n RUN no\nRUN c:\\\nRUN b\n",
            "# escape=`\nRUN@ a `\n RUN no\nRUN@ c:\\\nRUN@ b\n",
        ),
        (
            "# syntax=x\n# Escape = `\nRUN a `\n RUN no\n",
            "# syntax=x\n# Escape = `\nRUN@ a `\n RUN no\n",
        ),
        (
            "# a comment\n# escape=`\nRUN a `\nRUN b\n",
            "# a comment\n# escape=`\nRUN@ a `\nRUN@ b\n",
        ),
        (
            "\n# escape=`\nRUN a `\nRUN b\n",
            "\n# escape=`\nRUN@ a `\nRUN@ b\n",
        ),
        // What is not an instruction of this build.
        (
            "# RUN a\nLABEL x=\"RUN\"\nENV RUN y\nONBUILD RUN z\nRUNNER x\n",
            "# RUN a\nLABEL x=\"RUN\"\nENV RUN y\nONBUILD RUN z\nRUNNER x\n",
        ),
        ("CMD echo \\\n RUN x\n", "CMD echo \\\n RUN x\n"),
        // Here-documents.
        (
            "RUN <<EOF\nRUN no\nEOF\nRUN b\n",
            "RUN@ <<EOF\nRUN no\nEOF\nRUN@ b\n",
        ),
        (
            "RUN <<-\"E F\" cat\nRUN no\n\tE F\nRUN b\n",
            "RUN@ <<-\"E F\" cat\nRUN no\n\tE F\nRUN@ b\n",
        ),
        (
            "RUN python3 <<'PY' && \\\n  cat 3<<B\nRUN 1\nPY\nRUN 2\nB\nRUN b\n",
            "RUN@ python3 <<'PY' && \\\n  cat 3<<B\nRUN 1\nPY\nRUN 2\nB\nRUN@ b\n",
        ),
        (
            "COPY <<A <<B /x/\nFROM no\nA\nRUN no\nB\nRUN b\n",
            "COPY <<A <<B /x/\nFROM no\nA\nRUN no\nB\nRUN@ b\n",
        ),
        (
            "ONBUILD RUN <<E\nRUN no\nE\nRUN b\n",
            "ONBUILD RUN <<E\nRUN no\nE\nRUN@ b\n",
        ),
        ("RUN <<E\nRUN no\n", "RUN@ <<E\nRUN no\n"),
        // What only looks like one.
        ("RUN cat <<< x\nRUN b\n", "RUN@ cat <<< x\nRUN@ b\n"),
        (
            "RUN echo $((1<<2)) \"<<E\"\nRUN b\n",
            "RUN@ echo $((1<<2)) \"<<E\"\nRUN@ b\n",
        ),
        (
            "RUN [\"cat\", \"<<E\"]\nRUN b\n",
            "RUN@ [\"cat\", \"<<E\"]\nRUN@ b\n",
        ),
        ("ENV A=<<E\nRUN b\n", "ENV A=<<E\nRUN@ b\n"),
        // A mark at the start of the file.
        ("\u{feff}FROM a\nRUN b\n", "\u{feff}FROM a\n%RUN@ b\n"),
        ("", ""),
    ] {
        assert_eq!(certified(text), expected, "{text}");
    }
}

#[test]
fn a_copy_of_everything_moves_the_context() {
    for (text, expected) in [
        ("COPY . /app\n", "COPY context/ /app\n"),
        ("COPY ./ .\n", "COPY context/ .\n"),
        ("COPY / /\n", "COPY context/ /\n"),
        ("COPY a/.. /x\n", "COPY context/ /x\n"),
        ("ADD . /app\n", "ADD context/ /app\n"),
        (
            "copy --chown=1:1 --link . /app\n",
            "copy --chown=1:1 --link context/ /app\n",
        ),
        ("COPY [\".\", \"/a b\"]\n", "COPY [\"context/\", \"/a b\"]\n"),
        (
            "COPY --chmod=1 [ \"*\" , \"/a b\"]\n",
            "COPY --chmod=1 [ \"context/*\" , \"/a b\"]\n",
        ),
        (
            "COPY \\\n  # all\n  . \\\n  /app\n",
            "COPY \\\n  # all\n  context/ \\\n  /app\n",
        ),
        ("COPY \".\" /app\n", "COPY \"context/\" /app\n"),
        ("COPY *.txt /app/\n", "COPY context/*.txt /app/\n"),
        ("COPY $D/x /app/\n", "COPY context/$D/x /app/\n"),
        (
            "COPY --parents ./a/b . /app/\n",
            "COPY --parents context/./a/b context/./ /app/\n",
        ),
        // Once it has moved, everything follows.
        (
            "COPY a ./b/ ../c /d /x/\nCOPY . /y\n",
            "COPY context/a context/b/ context/c context/d /x/\nCOPY context/ /y\n",
        ),
        (
            "ADD https://x/y git@h:r.git a /x/\nADD . /y\n",
            "ADD https://x/y git@h:r.git context/a /x/\nADD context/ /y\n",
        ),
        (
            "COPY --from=a . /x\nCOPY . /y\n",
            "COPY --from=a . /x\nCOPY context/ /y\n",
        ),
        (
            "COPY <<E a /x/\nCOPY . /no\nE\nCOPY . /y\n",
            "COPY <<E context/a /x/\nCOPY . /no\nE\nCOPY context/ /y\n",
        ),
        (
            "ONBUILD COPY . /x\nCOPY . /y\n",
            "ONBUILD COPY . /x\nCOPY context/ /y\n",
        ),
        // Mounts of the context are of the context.
        (
            "RUN --mount=target=/src x\n",
            "RUN --mount=target=/src,source=context x\n",
        ),
        (
            "RUN --mount=type=bind,source=.,target=/s x\n",
            "RUN --mount=type=bind,source=context/,target=/s x\n",
        ),
        (
            "COPY . /x\nRUN --network=none --mount=type=bind,src=a,target=/a --mount=type=cache,target=/c --mount=from=b,target=/b x --mount=target=/no\n",
            "COPY context/ /x\nRUN --network=none --mount=type=bind,src=context/a,target=/a --mount=type=cache,target=/c --mount=from=b,target=/b x --mount=target=/no\n",
        ),
    ] {
        assert_eq!(
            prepare(text, false, false),
            Prepared {
                text: expected.to_owned(),
                below: "context"
            },
            "{text}"
        );
    }
}

#[test]
fn other_copies_leave_the_context_where_it_is() {
    for text in [
        "COPY a /x\n",
        "COPY a/* /x/\n",
        "COPY ./package.json b /x/\n",
        "COPY --from=x . /x\n",
        "COPY <<E /x\n.\nE\n",
        "ADD https://x/ /x\n",
        "RUN --mount=type=cache,target=/c x . y\n",
        "RUN --mount=from=x,target=/c x\n",
        "COPY\n",
        "COPY .\n",
        "COPY [\n",
    ] {
        assert_eq!(
            prepare(text, false, false),
            Prepared {
                text: text.to_owned(),
                below: ""
            },
            "{text}"
        );
    }
}

#[test]
fn a_context_with_our_directory_in_it_moves() {
    assert_eq!(
        prepare("COPY a /x\n", false, true),
        Prepared {
            text: "COPY context/a /x\n".to_owned(),
            below: "context"
        }
    );
}

#[test]
fn both_changes_go_together() {
    let Prepared { text, below } = prepare("FROM a\nRUN --mount=target=/s x\nCOPY . /y\n", true, false);
    assert_eq!(below, "context");
    assert_eq!(
        text.replace(MOUNT, "@").replace(ARGUMENTS, "%"),
        "FROM a\n%RUN@ --mount=target=/s,source=context x\nCOPY context/ /y\n"
    );
}

#[test]
fn certificates_come_with_what_apt_needs() {
    let names: Vec<_> = files("FROM a".to_owned(), Some(b"pem"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [".aishell/Dockerfile", ".aishell/ca.pem", ".aishell/apt.conf"]
    );
    assert_eq!(files("FROM a".to_owned(), None).len(), 1);
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_apart_without_loss(
        text in "([A-Z ]{0,9}(RUN|COPY|FROM|ADD|ONBUILD|#|<<E|\"|'|\\\\|`|\\[|\n|\r\n|ü| |--mount=|\\.|E\n)){0,24}"
    ) {
        let escape = escape(&text);
        let joined: String = parts(&text, escape).iter().map(|part| part.text).collect();
        proptest::prop_assert_eq!(&joined, &text);
        for certificates in [false, true] {
            let _ = prepare(&text, certificates, false);
        }
    }
}

#[test]
fn what_no_instruction_mentions_is_not_read() {
    let below = |paths: &[&str]| Reads::Below(paths.iter().map(|path| (*path).to_owned()).collect());
    assert_eq!(reads("FROM x\nRUN make"), below(&[]));
    assert_eq!(
        reads("FROM x\nCOPY --from=y /a /b\nCOPY src/ lib/*.rs ./Makefile /w/\n"),
        below(&["Makefile", "lib", "src"])
    );
    for text in [
        "FROM x\nCOPY . /w",
        "FROM x\nADD *.txt /w",
        "FROM x\nCOPY $FILE /w",
        "FROM x\nRUN --mount=type=bind,target=/w make",
    ] {
        assert_eq!(reads(text), Reads::Everything, "{text}");
    }
}

#[test]
fn a_line_of_a_here_document_belongs_to_its_instruction() {
    let text = "FROM x\n\nRUN <<EOF\necho\nfalse\nEOF\nCOPY <<A <<B /x/\n1\nA\n2\nB\nRUN x\n";
    let found: Vec<_> = (1..=12).map(|line| line_of_document(text, line)).collect();
    let (run, copy) = (Some(3), Some(7));
    assert_eq!(
        found,
        [
            None, None, None, run, run, run, None, copy, copy, copy, copy, None
        ]
    );
}

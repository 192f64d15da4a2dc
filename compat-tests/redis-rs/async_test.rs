//! `#[async_test]`, which redis-rs's tests expect of a crate that is not published.
//!
//! It makes tests of an async function: one in tokio if there are no arguments; one with each value of a `bool`; and
//! for a connection, given as `impl …`, one over each kind of connection.
use proc_macro::{Delimiter, TokenStream, TokenTree};

#[proc_macro_attribute]
pub fn async_test(_: TokenStream, function: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = function.clone().into_iter().collect();
    let text = |tokens: &[TokenTree]| tokens.iter().cloned().collect::<TokenStream>().to_string();
    let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    let at = tokens.iter().position(is_fn).expect("a function");
    let TokenTree::Ident(name) = &tokens[at + 1] else { panic!("a function has a name") };
    let TokenTree::Group(arguments) = &tokens[at + 2] else { panic!("no generic functions") };
    assert_eq!(arguments.delimiter(), Delimiter::Parenthesis, "arguments");
    let arguments = arguments.stream().to_string();

    // `#` and `[…]` come in pairs before the rest of the head.
    let head = tokens.chunks(2).take_while(|pair| matches!(&pair[0], TokenTree::Punct(p) if p.as_char() == '#')).count();
    let attributes = text(&tokens[..2 * head]);
    let test = |name: &str, more: &str, body: String| format!("{attributes} {more} #[test] fn {name}() {{ {body} }}");

    let tests = if arguments.trim().is_empty() {
        test(&format!("{name}_in_tokio"), "", format!("block_on_all({name}(), RuntimeType::Tokio)"))
    } else if arguments.trim().trim_end_matches(',').ends_with("bool") {
        ["true", "false"]
            .map(|value| {
                let body = format!("block_on_all({name}({value}), RuntimeType::Tokio)");
                test(&format!("{name}_{value}"), "", body)
            })
            .join(" ")
    } else {
        let kinds = [
            ("multiplexed_connection", "", "ctx.async_connection()"),
            ("connection_manager", "#[cfg(feature = \"connection-manager\")]", "ctx.client.get_connection_manager()"),
        ];
        kinds
            .map(|(kind, more, connect)| {
                let body = format!(
                    "let ctx = TestContext::new();
                     support::block_on_all(
                         async move {{ let con = {connect}.await.unwrap(); {name}(con).await }},
                         support::RuntimeType::Tokio)"
                );
                test(&format!("{name}_{kind}"), more, body)
            })
            .join(" ")
    };
    let tests: TokenStream = tests.parse().expect("tests");
    function.into_iter().chain(tests).collect()
}

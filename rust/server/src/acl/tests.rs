use super::*;
use crate::config::ChannelsByDefault::{Allchannels, Resetchannels};
use crate::table::{CATEGORIES, Named};

fn table() -> Table {
    Table::build(&[]).unwrap()
}

fn rules(table: &Table, modifiers: &str) -> Result<Rules, String> {
    let words: Vec<Vec<u8>> = modifiers.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    rules_of_line(&words, table, Resetchannels)
}

fn user(table: &Table, modifiers: &str) -> User {
    User::new(b"u", rules(table, modifiers).unwrap())
}

fn may(table: &Table, user: &User, command: &str) -> Result<(), Denied> {
    let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    let Named::Found(entry) = table.find(&words) else { panic!("{command}") };
    user.may(entry, &words)
}

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap()
}

#[test]
fn commands_and_subcommands() {
    let table = table();
    let bob = user(&table, "on ~* +@all -@dangerous +info -config|get +config|get");
    for (command, allowed) in [
        ("get a", true),
        ("info", true),
        ("config get a", true),
        ("config set a b", false),
        ("flushall", false),
        // Everybody may say who it is.
        ("auth a b", true),
    ] {
        assert_eq!(may(&table, &bob, command).is_ok(), allowed, "{command}");
    }
    let kim = user(&table, "on ~* -@all +client|id +client|setname -client|id +select|0 +config");
    for (command, allowed) in [
        ("client id", false),
        ("client setname a", true),
        ("client list", false),
        ("select 0", true),
        ("select 1", false),
        ("config get x", true),
        ("config set x y", true),
    ] {
        assert_eq!(may(&table, &kim, command).is_ok(), allowed, "{command}");
    }
}

#[test]
fn the_rules_are_told_as_they_were_made() {
    let table = table();
    let mut known = Rules::none(&table, Resetchannels);
    for (modifiers, told) in [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        // What is said again moves to the end; what is said against it takes its place.
        ("-@hash", "+@all -@slow +hget -@hash"),
        ("+@hash", "+@all -@slow +hget +@hash"),
        ("-@all", "-@all"),
        ("-@string -@slow +@all", "+@all"),
        ("-@all +@HASH +@hash +HGET +hget -hset +hset", "-@all +@hash +hget +hset"),
        (
            "nocommands +client|list +config|get +config +acl|list -acl",
            "-@all +client|list +config -acl",
        ),
        ("allcommands -select +select|0 +SELECT|1", "+@all -select +select|0 +select|1"),
        ("-@all -@dangerous", "-@all -@dangerous"),
    ] {
        for modifier in modifiers.split(' ') {
            known.apply(modifier.as_bytes(), &table, Resetchannels).unwrap();
        }
        assert_eq!(known.selectors()[0].commands_text(), told);
    }
}

#[test]
fn every_category_alone() {
    let table = table();
    for category in CATEGORIES {
        let with = user(&table, &format!("on ~* &* -@all +@{category}"));
        let without = user(&table, &format!("on ~* &* +@all -@{category}"));
        for entry in table.all().filter(|entry| !entry.flags.has(crate::commands::Flags::NO_AUTH)) {
            let words: Vec<&[u8]> = entry.name.split('|').map(str::as_bytes).collect();
            // A container's category is its subcommands' too.
            let parent = entry.parent.and_then(|id| table.get(id));
            let is_in = entry.categories().contains(&category)
                || parent.is_some_and(|parent| parent.categories().contains(&category));
            assert_eq!(with.may(entry, &words).is_ok(), is_in, "{} +@{category}", entry.name);
            assert_eq!(without.may(entry, &words).is_ok(), !is_in, "{} -@{category}", entry.name);
        }
    }
}

#[test]
fn keys_are_read_and_written() {
    let table = table();
    let kim = user(&table, "on +@all %R~r:* %W~w:* ~rw:* %RW~both");
    for (command, at) in [
        ("get r:1", 0),
        ("get w:1", 1),
        ("set w:1 x", 0),
        ("set w:1 x GET", 1),
        ("set rw:1 x GET", 0),
        ("set both x get", 0),
        ("set r:1 x", 1),
        ("append w:1 x", 0),
        ("getset w:1 x", 1),
        ("exists other", 1),
        ("exists w:1", 0),
        ("exists r:1", 0),
        ("mset w:1 a rw:2 b", 0),
        ("mset w:1 a r:2 b", 3),
        ("copy r:1 w:1", 0),
        ("copy w:1 r:1", 1),
        ("rename r:1 w:2", 1),
        ("lmove rw:1 w:1 left left", 0),
        ("sort r:1 store w:1", 0),
        ("sort r:1 store r:2", 3),
        ("bitfield r:1 get u8 0", 0),
        ("bitfield r:1 set u8 0 1", 1),
        ("bitfield w:1 set u8 0 1", 1),
        ("bitop and w:1 r:1 rw:1", 0),
        ("bitop and w:1 w:2", 3),
        ("zunionstore w:1 2 r:1 rw:1", 0),
        ("zunionstore w:1 2 r:1 x", 4),
        ("zunion 1 r:1", 0),
        // The command itself refuses such a number.
        ("zunion 9 x", 0),
        ("del w:1", 0),
        ("del r:1", 1),
        ("ping", 0),
    ] {
        let expected = if at == 0 { Ok(()) } else { Err(Denied::Key(at)) };
        assert_eq!(may(&table, &kim, command), expected, "{command}");
    }
    // Each selector by itself: reading by the one and writing by the other is not both.
    let two = user(&table, "on %R~* +get (%W~* +set)");
    assert!(may(&table, &two, "get a").is_ok() && may(&table, &two, "set a b").is_ok());
    assert_eq!(may(&table, &two, "set a b get"), Err(Denied::Key(1)));
    assert_eq!(may(&table, &two, "del a"), Err(Denied::Command));
}

#[test]
fn sort_looks_at_all_keys() {
    let table = table();
    for (rights, by, get) in [
        ("+sort ~a", false, false),
        ("+sort %R~* %W~a", true, true),
        ("+sort ~a (%R~* +get)", false, false),
        ("+sort ~*", true, true),
        ("+sort ~a (+sort ~*)", true, true),
        ("+sort ~a ~b*", false, false),
    ] {
        let user = user(&table, &format!("on {rights}"));
        let expect = |command: &str, allowed: bool, denied| {
            let expected = if allowed { Ok(()) } else { Err(denied) };
            assert_eq!(may(&table, &user, command), expected, "{rights}: {command}");
        };
        expect("sort a by b*", by, Denied::SortBy);
        expect("sort a limit 0 1 get b* desc", get, Denied::SortGet);
        // Not a pattern, so nothing is looked at.
        expect("sort a by nosort alpha", true, Denied::SortBy);
        expect("sort a limit 0 1 nonsense by b*", true, Denied::SortBy);
    }
}

#[test]
fn a_description_makes_the_same_again() {
    let table = table();
    for modifiers in [
        "on nopass ~* &* +@all",
        "off >secret >other #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "on skip-sanitize-payload %R~a* %W~b &news.* &x -@all +get +config|get -hset +select|0",
        "on +@all -@dangerous (~a +get) (%R~c -@all +@string &*) allkeys",
    ] {
        let first = rules(&table, modifiers).unwrap().describe();
        let again = rules(&table, std::str::from_utf8(&first).unwrap());
        assert_eq!(again.unwrap().describe(), first, "{modifiers}");
    }
    let mut odd = Rules::none(&table, Resetchannels);
    odd.apply(br#"("~a\"b\\" +get)"#, &table, Resetchannels).unwrap();
    let line = odd.describe();
    assert_eq!(
        text(line.clone()),
        "off sanitize-payload resetchannels -@all (\"~a\\\"b\\\\\" resetchannels -@all +get)"
    );
    assert_eq!(rules(&table, &text(line.clone())).unwrap().describe(), line);
}

#[test]
fn passwords() {
    let table = table();
    let mut bob = rules(&table, "on >one >two").unwrap();
    let change =
        |rules: &mut Rules, word: &str| rules.apply(word.as_bytes(), &table, Resetchannels);
    assert!(bob.accepts(b"one") && bob.accepts(b"two") && !bob.accepts(b"three"));
    change(&mut bob, "<one").unwrap();
    assert!(!bob.accepts(b"one") && bob.accepts(b"two"));
    assert_eq!(change(&mut bob, "<one").unwrap_err().text().split(' ').next_back(), Some("exist"));
    change(&mut bob, "nopass").unwrap();
    assert!(bob.accepts(b"anything"));
    change(&mut bob, ">three").unwrap();
    assert!(!bob.accepts(b"anything") && bob.accepts(b"three"));
    change(&mut bob, "resetpass").unwrap();
    assert!(!bob.accepts(b"three") && !bob.accepts(b""));
    // SHA-256 of "test", as anybody can find it.
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    change(&mut bob, &format!("#{hash}")).unwrap();
    assert!(bob.accepts(b"test"));
    for bad in [hash.to_uppercase(), hash[1..].to_owned(), format!("{hash}0")] {
        assert!(change(&mut bob, &format!("#{bad}")).is_err());
        assert!(change(&mut bob, &format!("!{bad}")).is_err());
    }
    change(&mut bob, &format!("!{hash}")).unwrap();
    assert!(!bob.accepts(b"test"));
    change(&mut bob, "nopass").unwrap();
    change(&mut bob, "off").unwrap();
    assert!(!bob.accepts(b""), "who is off does not get in");
}

#[test]
fn what_cannot_be_taken() {
    let table = table();
    for (modifiers, why) in [
        ("+nosuch", "Unknown command or category name"),
        ("-nosuch", "Unknown command"),
        ("+@nosuch", "Unknown command"),
        ("+config|nosuch", "Unknown command"),
        ("-select|0", "Unknown command"),
        ("+config|get|x", "first-arg of a subcommand"),
        ("+select|", "Syntax error"),
        ("%~a", "Syntax error"),
        ("%RR~a", "Syntax error"),
        ("%X~a", "Syntax error"),
        ("%", "Syntax error"),
        ("nonsense", "Syntax error"),
        ("(nonsense)", "Syntax error"),
        ("(on)", "Syntax error"),
        ("allkeys ~a", "after the * pattern (or the 'allkeys' flag)"),
        ("allkeys %R~a", "after the * pattern (or the 'allkeys' flag)"),
        ("allchannels &a", "after the * pattern (or the 'allchannels' flag)"),
        ("(~a", "Unmatched parenthesis in acl selector starting at '(~a'."),
    ] {
        let error = rules(&table, modifiers).map(|_| ()).unwrap_err();
        assert!(error.contains(why), "{modifiers}: {error}");
    }
    assert!(rules(&table, ">pass !short").map(|_| ()).unwrap_err().contains("(redacted)"));
    assert!(rules(&table, "").is_ok(), "nothing is no mistake");
}

#[test]
fn channels() {
    let table = table();
    let user = user(&table, "on ~* +@all &news.* &exact");
    assert!(user.may_use_channel(b"news.1", false) && user.may_use_channel(b"exact", false));
    assert!(!user.may_use_channel(b"other", false));
    // A pattern is compared as it stands.
    assert!(user.may_use_channel(b"news.*", true) && !user.may_use_channel(b"news.1*", true));
    assert!(Rules::none(&table, Allchannels).selectors()[0].has_channel(b"any", false));
    for command in ["publish", "subscribe", "psubscribe", "spublish", "ssubscribe"] {
        let Some(entry) = table.called(command.as_bytes()) else { continue };
        let refused = user.may(entry, &[command.as_bytes(), b"other", b"x"]);
        assert_eq!(refused, Err(Denied::Channel(1)), "{command}");
        assert!(user.may(entry, &[command.as_bytes(), b"news.*"]).is_ok());
    }
}

fn acl(config: &Config) -> Acl {
    Acl::new(config, &table()).unwrap()
}

#[test]
fn users_come_and_go() {
    let table = table();
    let acl = acl(&Config::default());
    assert!(acl.is_open() && acl.default_user().may_all());
    let set = |name: &str, modifiers: &str| {
        let words: Vec<&[u8]> = modifiers.split(' ').map(str::as_bytes).collect();
        acl.set(name.as_bytes(), &words, &table, Resetchannels).map(|_| ())
    };
    set("bob", "on >pw ~* &* +@all").unwrap();
    let bob = acl.authenticate(b"bob", b"pw").unwrap();
    assert!(bob.may_all() && acl.authenticate(b"bob", b"no").is_none());
    assert!(acl.authenticate(b"nobody", b"pw").is_none());
    // All or nothing.
    assert!(set("bob", "resetkeys +nosuch").unwrap_err().contains("modifier '+nosuch'"));
    assert!(bob.may_all());
    set("bob", "-flushall").unwrap();
    assert!(!bob.may_all(), "who holds it sees the change");
    set("default", ">pw").unwrap();
    assert!(!acl.is_open());
    set("default", "nopass off").unwrap();
    assert!(!acl.is_open(), "off is not open");
    let gone = acl.remove(b"bob", &table).unwrap();
    assert!(gone.is_deleted() && acl.get(b"bob").is_none());
    assert_eq!(may(&table, &bob, "get a"), Err(Denied::Command));
    assert!(!gone.accepts(b"pw"));
}

#[test]
fn the_configuration_names_users() {
    let line = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let config = Config {
        requirepass: b"pw".to_vec(),
        users: vec![line("bob on >x (~a +get)"), line("kim")],
        ..Config::default()
    };
    let acl = acl(&config);
    assert!(!acl.is_open() && acl.authenticate(b"default", b"pw").is_some());
    assert_eq!(acl.lines_for(&config, &table()).unwrap().len(), 2, "the default user is implied");
    assert_eq!(
        text(acl.get(b"kim").unwrap().line()),
        "user kim off sanitize-payload resetchannels -@all"
    );
    let config = Config { users: vec![line("default on nopass ~a +get")], ..config };
    let acl = Acl::new(&config, &table()).unwrap();
    assert!(acl.is_open() && !acl.default_user().may_all());
    assert_eq!(acl.lines_for(&config, &table()).unwrap().len(), 1);
    let both = Config { aclfile: "x".into(), ..config };
    assert!(Acl::new(&both, &table()).unwrap_err().contains("aclfile"));
}

#[test]
fn a_file_of_users() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.acl");
    let table = table();
    let config = Config {
        dir: dir.path().to_string_lossy().into_owned(),
        aclfile: "users.acl".into(),
        ..Config::default()
    };
    let missing = Acl::new(&config, &table).unwrap_err();
    assert!(missing.contains("Error loading ACLs, opening file"), "{missing}");
    std::fs::write(&path, "\nuser bob on  >pw ~a (~b +get)\r\nuser kim on nopass\n").unwrap();
    let acl = Acl::new(&config, &table).unwrap();
    assert!(acl.is_open() && acl.all().len() == 3);
    assert_eq!(acl.lines_for(&config, &table), None);
    let bob = acl.get(b"bob").unwrap();
    std::fs::write(&path, "user bob on nopass ~* &* +@all\nuser default on >x\n").unwrap();
    let gone = acl.load(&config, &table).unwrap();
    assert_eq!(gone.len(), 1, "kim is not in the file any more");
    assert!(bob.may_all() && !acl.is_open());
    // A mistake anywhere changes nothing.
    for (bad, why) in [
        ("user bob on\nuser bob off\n", "Duplicate user 'bob' found on line 2"),
        ("usr bob\n", "users.acl:1: line should start with user keyword"),
        ("user\n", "should start with user keyword"),
        ("user bob +nosuch\n", "applying operation '+nosuch': Unknown command"),
        ("user bob (~a\n", "Unmatched parenthesis"),
        ("user bob >secret %bad\n", "users.acl:1: Syntax error"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let error = acl.load(&config, &table).unwrap_err();
        assert!(error.contains(why) && error.contains("no change to the previously"), "{error}");
        assert!(bob.may_all() && !error.contains("secret"));
    }
    file::save(&path, &acl.lines()).unwrap();
    let before = acl.lines();
    assert!(acl.load(&config, &table).unwrap().is_empty());
    assert_eq!(acl.lines(), before);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing temporary is left");
}

#[test]
fn the_log_counts_equal_refusals_together() {
    let mut log = Log::default();
    let refusal = |object: &'static [u8], now_ms| Refusal {
        reason: Reason::Key,
        context: Context::TopLevel,
        object,
        user: b"u",
        command: "get",
        now_ms,
    };
    log.add(&refusal(b"a", 1000), b"first".to_vec(), 3);
    log.add(&refusal(b"b", 2000), Vec::new(), 3);
    log.add(&refusal(b"a", 61_000), b"second".to_vec(), 3);
    let told: Vec<_> = log.newest(10).cloned().collect();
    assert_eq!((told.len(), told[0].count, told[0].id), (2, 2, 0));
    assert_eq!((told[0].created_ms, told[0].updated_ms), (1000, 61_000));
    assert_eq!((told[0].object.as_slice(), told[0].client.as_slice()), (&b"a"[..], &b"second"[..]));
    log.add(&refusal(b"a", 121_001), Vec::new(), 3);
    assert_eq!(log.newest(10).len(), 3, "too late to be counted together");
    log.add(&refusal(b"c", 121_001), Vec::new(), 3);
    assert_eq!(log.newest(10).len(), 3, "no more than are to be kept");
    assert_eq!(log.newest(1).next().unwrap().object, b"c");
    log.clear();
    assert_eq!(log.newest(10).len(), 0);
}

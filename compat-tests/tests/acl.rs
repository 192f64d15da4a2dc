//! Users across files and restarts: what a transcript can't show because it needs a file that is there
//! before the server is.

use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::server::Start;
use forgekv_compat_tests::text::render;

fn ask(client: &mut Client, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split(' ').collect();
    Ok(render(&client.call(&words)?).join("\n"))
}

#[test]
fn a_file_of_users_is_read_and_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("users.acl");
    std::fs::write(&file, "user bob on >pw ~b:* +@all (~c +get)\nuser kim on nopass +@all ~*\n")?;
    let path = file.to_string_lossy().into_owned();
    let mut server = Start::forgekv()?.flags(&["--aclfile", &path]).run()?;
    let mut admin = server.connect()?;
    let (mut bob, mut kim) = (server.connect()?, server.connect()?);
    assert_eq!(ask(&mut bob, "AUTH bob pw")?, "OK");
    assert_eq!(ask(&mut kim, "AUTH kim x")?, "OK");
    assert_eq!(ask(&mut bob, "SET b:1 x")?, "OK");
    assert!(ask(&mut bob, "SET c x")?.contains("NOPERM"));
    // What was changed is saved.
    assert_eq!(ask(&mut admin, "ACL SETUSER bob ~d:*")?, "OK");
    assert_eq!(ask(&mut admin, "ACL SAVE")?, "OK");
    let saved = std::fs::read_to_string(&file)?;
    assert!(saved.starts_with("user bob on sanitize-payload #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~b:* ~d:* resetchannels -@all +@all (~c resetchannels -@all +get)\n")
        || saved.contains("~b:* ~d:* resetchannels +@all (~c resetchannels -@all +get)\n"), "{saved}");
    assert_eq!(saved.lines().count(), 3);
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "nothing temporary is left");
    server.kill()?;
    server.start_again()?;
    let (mut admin, mut bob) = (server.connect()?, server.connect()?);
    let mut kim = server.connect()?;
    assert_eq!(ask(&mut bob, "AUTH bob pw")?, "OK");
    assert_eq!(ask(&mut bob, "SET d:1 x")?, "OK");
    assert_eq!(ask(&mut kim, "AUTH kim x")?, "OK");
    // Read again: bob stays who he is with other rights, kim is gone.
    std::fs::write(&file, "user bob on >pw ~e:* +@all\n")?;
    assert_eq!(ask(&mut admin, "ACL LOAD")?, "OK");
    assert!(ask(&mut bob, "SET d:1 x")?.contains("NOPERM"));
    assert_eq!(ask(&mut bob, "SET e:1 x")?, "OK");
    assert!(kim.closes());
    // A mistake changes nothing.
    std::fs::write(&file, "user bob on >pw allkeys +@all\nuser bob off\n")?;
    assert!(ask(&mut admin, "ACL LOAD")?.contains("Duplicate user 'bob' found on line 2"));
    assert!(ask(&mut bob, "SET d:1 x")?.contains("NOPERM"));
    // Users with a file of their own are not written into the configuration, but to their file.
    assert_eq!(ask(&mut admin, "ACL SAVE")?, "OK");
    assert!(std::fs::read_to_string(&file)?.contains("~e:*"));
    // Without the default user's own line it may do everything.
    assert!(ask(&mut admin, "ACL LIST")?.contains("user default on nopass"));
    std::fs::remove_file(&file)?;
    assert!(ask(&mut admin, "ACL LOAD")?.contains("Error loading ACLs, opening file"));
    Ok(())
}

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use super::*;

/// A project, watched.
struct Project {
    path: PathBuf,
    changes: mpsc::Receiver<Change>,
    watcher: Option<Watcher>,
}

impl Project {
    fn directory() -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rr-watch-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        for directory in ["src/deep", "var", "node_modules/x"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        for file in ["src/a.php", "src/deep/b.php", "var/c.php", "node_modules/x/d.php", "notes.txt"] {
            fs::write(path.join(file), file).unwrap();
        }
        path
    }

    fn config(path: &Path, poll: Option<Duration>) -> Config {
        let watch = vec!["**/*.{php,css}".to_owned(), ".env*".to_owned()];
        Config { projects: vec![path.to_owned()], watch, ignore: Vec::new(), debounce: Duration::from_millis(50), poll }
    }

    fn start(path: PathBuf, prepared: Prepared) -> Self {
        let (tell, changes) = mpsc::channel();
        let watcher = prepared.start(move |change| drop(tell.send(change.clone()))).unwrap();
        Self { path, changes, watcher: Some(watcher) }
    }

    fn new(poll: Option<Duration>) -> Self {
        let path = Self::directory();
        let prepared = Self::config(&path, poll).build();
        assert_eq!(matches!(prepared.source, Source::Kernel(_)), poll.is_none());
        Self::start(path, prepared)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Waits until exactly `files` have been told of, in one change or several.
    fn saw(&self, files: &[&str]) {
        let mut seen = Vec::new();
        while let Ok(change) = self.changes.recv_timeout(Duration::from_secs(if seen.is_empty() { 20 } else { 5 })) {
            seen.extend(change.files.iter().map(|path| path.strip_prefix(&self.path).unwrap_or(path).display().to_string()));
            seen.sort_unstable();
            seen.dedup();
            if seen == files {
                return;
            }
        }
        panic!("told of {seen:?}, not {files:?}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(self.watcher.take());
        drop(fs::remove_dir_all(&self.path));
    }
}

/// The same test by inotify and by the clock.
macro_rules! by_both {
    ($(fn $name:ident($project:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn test($project: Project) $body

            #[test]
            fn by_inotify() {
                test(Project::new(None));
            }

            #[test]
            fn by_the_clock() {
                test(Project::new(Some(Duration::from_millis(20))));
            }
        }
    )*};
}

by_both! {
    fn a_file_written_anew_renamed_over_or_removed(project) {
        project.write("src/a.php", "written anew");
        project.saw(&["src/a.php"]);
        project.write("src/a.php~new", "by an editor");
        fs::rename(project.path.join("src/a.php~new"), project.path.join("src/a.php")).unwrap();
        project.saw(&["src/a.php"]);
        fs::remove_file(project.path.join("src/deep/b.php")).unwrap();
        project.saw(&["src/deep/b.php"]);
        project.write(".env.local", "A=1");
        project.saw(&[".env.local"]);
    }

    fn directories_that_come_and_go(project) {
        project.write("lib/one/two/x.php", "x");
        project.saw(&["lib/one/two/x.php"]);
        project.write("lib/one/two/x.php", "x, changed");
        project.saw(&["lib/one/two/x.php"]);
        fs::rename(project.path.join("lib"), project.path.join("moved")).unwrap();
        project.saw(&["lib/one/two/x.php", "moved/one/two/x.php"]);
        project.write("moved/one/y.php", "y");
        project.saw(&["moved/one/y.php"]);
        fs::remove_dir_all(project.path.join("moved")).unwrap();
        project.saw(&["moved/one/two/x.php", "moved/one/y.php"]);
        project.write("moved/one/y.php", "again");
        project.saw(&["moved/one/y.php"]);
    }

    fn links_to_files_and_directories(project) {
        let elsewhere = Project::directory();
        symlink(elsewhere.join("src/a.php"), project.path.join("linked.php")).unwrap();
        symlink(elsewhere.join("src/deep"), project.path.join("current")).unwrap();
        project.saw(&["current", "current/b.php", "linked.php"]);
        fs::write(elsewhere.join("src/a.php"), "behind the link").unwrap();
        project.saw(&["linked.php"]);
        fs::write(elsewhere.join("src/new"), "renamed over what the link leads to").unwrap();
        fs::rename(elsewhere.join("src/new"), elsewhere.join("src/a.php")).unwrap();
        project.saw(&["linked.php"]);
        fs::write(elsewhere.join("src/a.php"), "and written once more").unwrap();
        project.saw(&["linked.php"]);
        fs::write(elsewhere.join("src/deep/b.php"), "in a linked directory").unwrap();
        project.saw(&["current/b.php"]);
        // Swapped as deployments do it, for a tree that is in the project already.
        symlink(project.path.join("src/deep"), project.path.join("next")).unwrap();
        project.saw(&["next"]);
        fs::rename(project.path.join("next"), project.path.join("current")).unwrap();
        project.saw(&["current", "current/b.php", "next"]);
        fs::remove_dir_all(elsewhere).unwrap();
        project.saw(&["linked.php"]);
    }

    fn what_does_not_count_is_not_told_of(project) {
        for name in ["notes.txt", "var/c.php", "var/new/e.php", "node_modules/x/d.php", "src/a.php.swp", "vendor/acme/A.php"] {
            project.write(name, "changed");
        }
        project.write("src/a.php", "changed last");
        project.saw(&["src/a.php"]);
        assert!(project.changes.recv_timeout(Duration::from_millis(300)).is_err());
    }

    fn many_at_once_are_one_change(project) {
        for number in 0..200 {
            project.write(&format!("src/many/{number}.php"), "x");
        }
        let change = project.changes.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(change.files.len(), 200);
        assert_eq!(change.to_string(), "src/many/0.php and 199 more");
    }

    fn a_project_that_is_taken_away_and_put_back(project) {
        let aside = project.path.with_extension("aside");
        fs::rename(&project.path, &aside).unwrap();
        project.saw(&["src/a.php", "src/deep/b.php"]);
        fs::rename(&aside, &project.path).unwrap();
        project.saw(&["src/a.php", "src/deep/b.php"]);
        project.write("src/a.php", "still watched");
        project.saw(&["src/a.php"]);
    }
}

#[test]
fn a_change_while_the_server_starts_is_told_of() {
    let path = Project::directory();
    let prepared = Project::config(&path, None).build();
    fs::write(path.join("src/a.php"), "changed meanwhile").unwrap();
    Project::start(path, prepared).saw(&["src/a.php"]);
}

#[test]
fn where_the_kernel_refuses_the_clock_takes_over() {
    let path = Project::directory();
    let mut prepared = Project::config(&path, None).build();
    prepared.source = Source::fall_back(&Refused::Watches { needed: 3 });
    let project = Project::start(path, prepared);
    project.write("src/a.php", "changed");
    project.saw(&["src/a.php"]);
}

#[test]
fn a_look_has_bounds() {
    let path = Project::directory();
    let roots = Root::all(std::slice::from_ref(&path), &["*.php".to_owned()], &[]);
    let whole = scan(&roots, Bounds::default());
    assert_eq!((whole.files.len(), whole.directories(), whole.is_cut), (2, 3, false));
    let cut = scan(&roots, Bounds { files: 1, places: 2 });
    assert!(cut.is_cut && cut.files.len() <= 1 && cut.places.len() <= 2, "{cut:?}");
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn links_in_a_circle_are_followed_once() {
    let path = Project::directory();
    symlink(&path, path.join("src/deep/up")).unwrap();
    let found = scan(&Root::all(std::slice::from_ref(&path), &["*.php".to_owned()], &[]), Bounds::default());
    // The link itself and the two files.
    assert_eq!((found.files.len(), found.is_cut), (3, false), "{found:?}");
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn styles_and_images_are_for_browsers_alone() {
    let change = |files: &[&str]| Change { files: files.iter().map(PathBuf::from).collect(), projects: Vec::new() };
    assert!(change(&["a.css", "b.JS", "c.svg"]).is_for_browsers());
    assert!(!change(&["a.css", "b.php"]).is_for_browsers());
    assert!(!change(&["a.html"]).is_for_browsers(), "a worker may have read it as a template");
}

#[test]
fn a_project_is_where_composer_json_is() {
    let path = Project::directory();
    assert_eq!(project_of(&path.join("src")), path.join("src"));
    fs::write(path.join("composer.json"), "{}").unwrap();
    assert_eq!(project_of(&path.join("src/deep")), path);
    assert_eq!(project_of(&path), path);
    fs::remove_dir_all(path).unwrap();
}

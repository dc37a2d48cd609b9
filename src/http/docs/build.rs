//! Takes the files of the viewer that the service serves from the Swagger UI archive.

use std::fs::File;
use std::io::{Cursor, copy};
use std::path::PathBuf;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const SERVED: [&str; 3] = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"];

fn main() {
    println!("cargo::rerun-if-changed=src/http/docs/build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("a ZIP archive");
    for name in SERVED {
        let is_it = |path: &str| path.strip_suffix(name).is_some_and(|rest| rest.ends_with("/dist/"));
        let path = archive.file_names().flatten().find(|path| is_it(path)).expect(name).into_owned();
        let mut packed = archive.by_name(&path).expect(name);
        let mut file = File::create(out.join(name)).expect(name);
        copy(&mut packed, &mut file).expect(name);
    }
}

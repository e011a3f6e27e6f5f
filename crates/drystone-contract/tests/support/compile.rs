//! Compiles one `.proto` text with the embedded annotation files, as the build-script generator does.

use drystone_contract::WELL_KNOWN_FILES;
use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let found = self.0.iter().find(|(file, _)| file == name);
        let (_, text) = found.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

/// The descriptors of `text` under the import name `name`.
pub(crate) fn compile(name: &str, text: &str) -> DescriptorPool {
    let embedded = WELL_KNOWN_FILES.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(embedded.chain([(name.to_owned(), text.to_owned())]).collect()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    match compiler.open_file(name) {
        Ok(compiler) => compiler.descriptor_pool(),
        Err(error) => panic!("{name} does not compile: {error:?}"),
    }
}

//! Puts documents together.

use super::{Element, kind};

/// A document that grows field by field.
#[derive(Clone, Debug)]
pub(crate) struct Builder(Vec<u8>);

impl Builder {
    pub fn new() -> Self {
        Builder(vec![0; 4])
    }

    /// A field of any kind. A name ends at a zero: the names here are ours, or those of fields.
    pub fn value(mut self, name: &str, kind: u8, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend(name.bytes().take_while(|byte| *byte != 0));
        self.0.push(0);
        self.0.extend_from_slice(value);
        self
    }

    /// A field as it is.
    pub fn element(mut self, element: Element<'_>) -> Self {
        self.0.push(element.kind);
        self.0.extend_from_slice(element.name);
        self.0.push(0);
        self.0.extend_from_slice(element.value);
        self
    }

    pub fn text(self, name: &str, text: &str) -> Self {
        let value = [&(text.len() as i32 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat();
        self.value(name, kind::TEXT, &value)
    }

    pub fn int32(self, name: &str, number: i32) -> Self {
        self.value(name, kind::INT32, &number.to_le_bytes())
    }

    pub fn int64(self, name: &str, number: i64) -> Self {
        self.value(name, kind::INT64, &number.to_le_bytes())
    }

    pub fn boolean(self, name: &str, so: bool) -> Self {
        self.value(name, kind::BOOLEAN, &[u8::from(so)])
    }

    pub fn document(self, name: &str, document: &[u8]) -> Self {
        self.value(name, kind::DOCUMENT, document)
    }

    /// An array of values of any kind.
    pub fn array<'b>(self, name: &str, values: impl IntoIterator<Item = (u8, &'b [u8])>) -> Self {
        let numbered = values.into_iter().enumerate();
        let array = numbered.fold(Builder::new(), |b, (at, (kind, value))| b.value(&at.to_string(), kind, value));
        self.value(name, kind::ARRAY, &array.done())
    }

    /// An array of documents.
    pub fn documents<'b>(self, name: &str, documents: impl IntoIterator<Item = &'b Vec<u8>>) -> Self {
        self.array(name, documents.into_iter().map(|document| (kind::DOCUMENT, document.as_slice())))
    }

    pub fn done(mut self) -> Vec<u8> {
        self.0.push(0);
        let length = self.0.len() as i32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

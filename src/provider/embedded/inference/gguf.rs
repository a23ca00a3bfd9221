//! GGUF files: metadata, which is checked when the engine reads it, and tensors.
//!
//! The file is untrusted: a missing or wrong value is an error, and every size is first compared with the file size.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};

use crate::provider::EndpointError;

pub(crate) struct Gguf {
    file: BufReader<File>,
    content: Content,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, EndpointError> {
        let shown = path.display();
        let file = File::open(path).map_err(|e| EndpointError::new(format!("{shown} can't be opened: {e}")))?;
        let mut file = BufReader::new(file);
        // A hostile file must not end the process, even if the reader of the file panics.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut file)));
        match content {
            Ok(Ok(content)) => Ok(Gguf { file, content }),
            Ok(Err(error)) => Err(broken(&format!("{shown} is not a whole GGUF file: {}", first_line(&error)))),
            Err(_) => Err(broken(&format!("{shown} is not a whole GGUF file"))),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.to_string().ok().map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(whole)
    }

    pub(crate) fn fraction(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn truth(&self, key: &str) -> Option<bool> {
        self.get(key)?.to_bool().ok()
    }

    pub(crate) fn list(&self, key: &str) -> Option<&[Value]> {
        self.get(key)?.to_vec().ok().map(Vec::as_slice)
    }

    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.content.tensor_infos.contains_key(tensor)
    }

    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<QTensor, EndpointError> {
        let Some(info) = self.content.tensor_infos.get(name) else {
            return Err(broken(&format!("the GGUF file has no tensor `{name}`")));
        };
        if info.shape.dims() != shape {
            let found = info.shape.dims();
            return Err(broken(&format!("the tensor `{name}` is {found:?}, but its model needs {shape:?}")));
        }
        let read = catch_unwind(AssertUnwindSafe(|| self.content.tensor(&mut self.file, name, &Device::Cpu)));
        match read {
            Ok(Ok(tensor)) => Ok(tensor),
            Ok(Err(error)) => Err(broken(&format!("the tensor `{name}` can't be read: {}", first_line(&error)))),
            Err(_) => Err(broken(&format!("the tensor `{name}` can't be read"))),
        }
    }
}

pub(crate) fn vector(gguf: &mut Gguf, name: &str, length: usize) -> Result<Tensor, EndpointError> {
    let vector = gguf.tensor(name, &[length])?.dequantize(&Device::Cpu);
    vector.map_err(|e| broken(&format!("`{name}` can't be used: {}", first_line(&e))))
}

pub(crate) fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

pub(crate) fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::U8(n) => Some(u64::from(*n)),
        Value::U16(n) => Some(u64::from(*n)),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        Value::I8(n) => u64::try_from(*n).ok(),
        Value::I16(n) => u64::try_from(*n).ok(),
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

pub(crate) fn broken(message: &str) -> EndpointError {
    EndpointError::new(message).help("fetch the file again; it may have been cut off on the way")
}

pub(crate) fn first_line(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or("no further reason").to_owned()
}

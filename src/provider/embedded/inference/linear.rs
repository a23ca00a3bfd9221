//! Matrices of quantised weights, in the form that candle multiplies fastest.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor, QuantizedType};
use candle_core::{CpuStorage, DType, Device, Module, Result, Tensor};
use half::f16;
use parking_lot::Mutex;

const ROWS: usize = 2048;
/// Candle's VNNI kernels need a multiple of `WIDE.0` columns and a multiple of `WIDE.1` rows.
const WIDE: (usize, usize) = (256, 16);

#[derive(Debug)]
pub(crate) struct Linear {
    weights: QMatMul,
    padding: usize,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(parts: &[QTensor], bias: Option<Tensor>) -> Result<Self> {
        Linear::arranged(parts, bias, has_vnni())
    }

    fn arranged(parts: &[QTensor], bias: Option<Tensor>, vnni: bool) -> Result<Self> {
        let columns = parts[0].shape().dims2()?.1;
        let mut rows = 0;
        for part in parts {
            rows += part.shape().dims2()?.0;
        }
        let kind = parts[0].dtype();
        let packed = vnni && rows % WIDE.1 == 0;
        let wide = if packed { columns.next_multiple_of(WIDE.0) } else { columns };
        let fits = kind != GgmlDType::Q8_0 || wide == columns;
        let (kind, wide, data) = if fits && is_fast(kind) && parts.iter().all(|part| part.dtype() == kind) {
            let parts: Result<Vec<_>> = parts.iter().map(QTensor::data).collect();
            (kind, columns, parts?.concat())
        } else {
            let block = GgmlDType::Q8_0;
            let mut data = Vec::with_capacity(rows * wide / block.block_size() * block.type_size());
            for part in parts {
                requantise(part, columns, wide, &mut data)?;
            }
            (block, wide, data)
        };
        let padding = wide - columns;
        if kind != GgmlDType::Q8_0 || !packed {
            let storage = QStorage::from_data(data.into(), &Device::Cpu, kind)?;
            let weights = QMatMul::from_qtensor(QTensor::new(storage, (rows, wide))?)?;
            return Ok(Linear { weights, padding, bias });
        }
        let lent = Lent::new(kind.from_data(data.into()));
        let weights = QTensor::new(QStorage::Cpu(Box::new(lent.clone())), (rows, wide))?;
        let weights = QMatMul::from_qtensor(weights)?;
        // The first product makes candle rearrange the weights; the second proves that it no longer reads the original
        // ones.
        let zeros = Tensor::zeros((1, wide), DType::F32, &Device::Cpu)?;
        weights.forward(&zeros)?;
        lent.take_back();
        weights.forward(&zeros)?;
        Ok(Linear { weights, padding, bias })
    }

    /// Maps `[tokens, columns]` to `[tokens, rows]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = match self.padding {
            0 => self.weights.forward(x)?,
            zeros => self.weights.forward(&x.pad_with_zeros(1, 0, zeros)?)?,
        };
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

fn is_fast(kind: GgmlDType) -> bool {
    matches!(kind, GgmlDType::Q8_0 | GgmlDType::Q4_0 | GgmlDType::Q4K | GgmlDType::Q5K | GgmlDType::Q6K)
}

/// Candle's 8-bit kernel for VNNI is up to ten times as fast as the general one.
fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"))
        || is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Converts weights to 8 bits, with zeros up to `wide` columns. Types without a fast kernel lose almost no precision.
fn requantise(matrix: &QTensor, columns: usize, wide: usize, data: &mut Vec<u8>) -> Result<()> {
    let kind = matrix.dtype();
    let bytes = matrix.data()?;
    let row = columns / kind.block_size() * kind.type_size();
    for rows in bytes.chunks(row * ROWS) {
        let storage = QStorage::from_data(rows.into(), &Device::Cpu, kind)?;
        let some = QTensor::new(storage, (rows.len() / row, columns))?.dequantize(&Device::Cpu)?;
        let some = QTensor::quantize(&some.pad_with_zeros(1, 0, wide - columns)?, GgmlDType::Q8_0)?;
        data.extend_from_slice(&some.data()?);
    }
    Ok(())
}

/// Weights that are freed when candle has rearranged them: keeping them would double a model's memory.
#[derive(Clone)]
struct Lent(Arc<Mutex<Option<Box<dyn QuantizedType>>>>);

impl Lent {
    fn new(weights: Box<dyn QuantizedType>) -> Self {
        Lent(Arc::new(Mutex::new(Some(weights))))
    }

    /// Must not be called while a product is running.
    fn take_back(&self) {
        *self.0.lock() = None;
    }

    fn read<T>(&self, read: impl FnOnce(&dyn QuantizedType) -> T) -> T {
        let weights = self.0.lock();
        read(weights.as_deref().expect("candle has arranged these weights for its kernel and reads no others"))
    }
}

impl QuantizedType for Lent {
    fn dtype(&self) -> GgmlDType {
        GgmlDType::Q8_0
    }

    fn matmul_t(&self, shape: (usize, usize, usize), x: &[f32], product: &mut [f32]) -> Result<()> {
        self.read(|weights| weights.matmul_t(shape, x, product))
    }

    fn matmul_t_f16(&self, shape: (usize, usize, usize), x: &[f16], product: &mut [f16]) -> Result<()> {
        self.read(|weights| weights.matmul_t_f16(shape, x, product))
    }

    fn embedding(&self, rows: &[u32], count: usize, columns: usize) -> Result<CpuStorage> {
        self.read(|weights| weights.embedding(rows, count, columns))
    }

    fn dequantize(&self, numbers: usize) -> Result<CpuStorage> {
        self.read(|weights| weights.dequantize(numbers))
    }

    fn storage_size_in_bytes(&self) -> usize {
        self.read(|weights| weights.storage_size_in_bytes())
    }

    fn as_ptr(&self) -> *const u8 {
        self.read(|weights| weights.as_ptr())
    }

    fn block_size(&self) -> usize {
        GgmlDType::Q8_0.block_size()
    }

    fn from_float(&mut self, _: &[f32]) {
        unreachable!("weights that are lent are never written")
    }

    fn from_float_imatrix(&mut self, _: &[f32], _: &[f32], _: usize) {
        unreachable!("weights that are lent are never written")
    }

    fn size(&self) -> usize {
        self.storage_size_in_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest difference from the product with the same weights in full, relative to its largest number.
    fn error(kind: GgmlDType, columns: usize, vnni: bool) -> f32 {
        let random = |rows| Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu).unwrap();
        let parts = [32, 16].map(|rows| QTensor::quantize(&random(rows), kind).unwrap());
        let full = parts.each_ref().map(|part| part.dequantize(&Device::Cpu).unwrap());
        let bias = Tensor::randn(0f32, 1.0, 48, &Device::Cpu).unwrap();
        let x = random(5);
        let exact = x.matmul(&Tensor::cat(&full, 0).unwrap().t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
        let product = Linear::arranged(&parts, Some(bias), vnni).unwrap().forward(&x).unwrap();
        let largest = |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        largest(&(product - &exact).unwrap()) / largest(&exact)
    }

    #[test]
    fn products_are_right_for_every_arrangement() {
        use GgmlDType::{BF16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q6K, Q8_0};
        for (kind, columns) in [(Q4_1, 576), (Q8_0, 576), (Q8_0, 512), (Q4_0, 576), (Q5_0, 96), (F16, 64), (F32, 64)]
            .into_iter()
            .chain([(BF16, 64), (Q4K, 512), (Q6K, 256)])
        {
            for vnni in [false, has_vnni()] {
                let error = error(kind, columns, vnni);
                assert!(error < 0.02, "{kind:?} {columns} {vnni}: {error}");
            }
        }
    }
}

//! Changes of an image's colours and geometry, to the byte those of Pillow as torchvision calls it.
//!
//! An image is rows of pixels of one or three bytes (grey or RGB). Geometry takes the nearest pixel.

/// An image whose pixels may be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// \[row, column, channel\].
    pub bytes: Vec<u8>,
    pub width: usize,
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
}

/// An affine map from places of the result to places of the source: `x' = a x + b y + c`,
/// `y' = d x + e y + f`.
struct Affine {
    x: [f64; 3],
    y: [f64; 3],
}

impl Picture {
    /// Moves rows sideways by `slope` pixels a row.
    pub fn shear_x(&mut self, slope: f64, fill: u8) {
        self.transform(&Affine { x: [1.0, slope, 0.0], y: [0.0, 1.0, 0.0] }, fill);
    }

    /// Moves columns up or down by `slope` pixels a column.
    pub fn shear_y(&mut self, slope: f64, fill: u8) {
        self.transform(&Affine { x: [1.0, 0.0, 0.0], y: [slope, 1.0, 0.0] }, fill);
    }

    /// Moves the image right and down by whole pixels.
    pub fn translate(&mut self, right: i64, down: i64, fill: u8) {
        let (x, y) = ([1.0, 0.0, -right as f64], [0.0, 1.0, -down as f64]);
        self.transform(&Affine { x, y }, fill);
    }

    /// Turns the image about its centre, counter-clockwise.
    pub fn rotate(&mut self, degrees: f64, fill: u8) {
        let degrees = degrees.rem_euclid(360.0);
        if degrees == 0.0 {
            return;
        }
        // Pillow rounds so.
        let round = |v: f64| (v * 1e15).round_ties_even() / 1e15;
        let (sin, cos) = (-degrees.to_radians()).sin_cos();
        let (cos, sin) = (round(cos), round(sin));
        let (w, h) = (self.width as f64 / 2.0, self.height as f64 / 2.0);
        let x = [cos, sin, cos * -w + sin * -h + w];
        let y = [-sin, cos, -sin * -w + cos * -h + h];
        self.transform(&Affine { x, y }, fill);
    }

    /// Takes the nearest source pixel for each pixel, in Pillow's fixed-point numbers of 16 bits after the
    /// point. Pixels from outside are `fill`.
    fn transform(&mut self, affine: &Affine, fill: u8) {
        let fixed = |v: f64| (v * 65536.0 + 0.5).floor() as i64;
        let start = |[a, b, c]: [f64; 3]| fixed(c + a * 0.5 + b * 0.5);
        let ([ax, bx, _], [ay, by, _]) = (affine.x.map(fixed), affine.y.map(fixed));
        let (mut row_x, mut row_y) = (start(affine.x), start(affine.y));
        let (width, height, channels) = (self.width as i64, self.height as i64, self.channels);
        let mut out = vec![fill; self.bytes.len()];
        for row in out.chunks_exact_mut(self.width * channels) {
            let (mut x, mut y) = (row_x, row_y);
            for pixel in row.chunks_exact_mut(channels) {
                let (from_x, from_y) = (x >> 16, y >> 16);
                if (0..width).contains(&from_x) && (0..height).contains(&from_y) {
                    let from = (from_y * width + from_x) as usize * channels;
                    pixel.copy_from_slice(&self.bytes[from..from + channels]);
                }
                (x, y) = (x + ax, y + ay);
            }
            (row_x, row_y) = (row_x + bx, row_y + by);
        }
        self.bytes = out;
    }

    /// Scales brightness: black at factor 0, unchanged at 1.
    pub fn brightness(&mut self, factor: f32) {
        let table = std::array::from_fn(|v| blend(0, v as u8, factor));
        self.map(&table);
    }

    /// Scales colourfulness: grey at factor 0, unchanged at 1.
    pub fn color(&mut self, factor: f32) {
        if self.channels == 1 || factor == 1.0 {
            return;
        }
        for pixel in self.bytes.chunks_exact_mut(3) {
            let grey = luminance(pixel);
            for value in pixel {
                *value = blend(grey, *value, factor);
            }
        }
    }

    /// Scales contrast: the mean grey at factor 0, unchanged at 1.
    pub fn contrast(&mut self, factor: f32) {
        let sum: u64 =
            self.bytes.chunks_exact(self.channels).map(|p| u64::from(luminance(p))).sum();
        let pixels = (self.width * self.height).max(1) as f64;
        let mean = (sum as f64 / pixels + 0.5) as u8;
        let table = std::array::from_fn(|v| blend(mean, v as u8, factor));
        self.map(&table);
    }

    /// Scales sharpness: smoothed at factor 0, unchanged at 1. Pixels at the border are not changed.
    pub fn sharpness(&mut self, factor: f32) {
        let row = self.width * self.channels;
        let mut out = self.bytes.clone();
        for y in 1..self.height.saturating_sub(1) {
            for i in self.channels..row.saturating_sub(self.channels) {
                let at = y * row + i;
                let around = [at - row, at, at + row].into_iter();
                let places = around.flat_map(|i| [i - self.channels, i, i + self.channels]);
                let sum: u32 = places.map(|i| u32::from(self.bytes[i])).sum();
                // The kernel is 1 around 5, over 13, rounded.
                let sum = sum + 4 * u32::from(self.bytes[at]);
                let smooth = ((2 * sum + 13) / 26) as u8;
                out[at] = blend(smooth, self.bytes[at], factor);
            }
        }
        self.bytes = out;
    }

    /// Keeps the highest `bits` bits of each value.
    pub fn posterize(&mut self, bits: u32) {
        let kept = !(0xff_u32 >> bits.min(8)) as u8;
        self.map(&std::array::from_fn(|v| v as u8 & kept));
    }

    /// Inverts values from the threshold on.
    pub fn solarize(&mut self, threshold: f64) {
        let inverted = |v: usize| if (v as f64) < threshold { v as u8 } else { 255 - v as u8 };
        self.map(&std::array::from_fn(inverted));
    }

    pub fn invert(&mut self) {
        self.map(&std::array::from_fn(|v| 255 - v as u8));
    }

    /// Stretches each channel so that its darkest value is 0 and its lightest 255.
    pub fn auto_contrast(&mut self) {
        self.map_by_histogram(|histogram| {
            let lowest = histogram.iter().position(|n| *n > 0)?;
            let highest = histogram.iter().rposition(|n| *n > 0)?;
            (lowest < highest).then(|| {
                let scale = 255.0 / (highest - lowest) as f64;
                let offset = -(lowest as f64) * scale;
                std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
            })
        });
    }

    /// Makes the histogram of each channel as flat as a table of values can.
    pub fn equalize(&mut self) {
        self.map_by_histogram(|histogram| {
            let last = histogram.iter().rfind(|n| **n > 0)?;
            let step = (histogram.iter().sum::<usize>() - last) / 255;
            let mut n = step / 2;
            (step > 0).then(|| {
                histogram.map(|count| {
                    let value = n / step;
                    n += count;
                    value.min(255) as u8
                })
            })
        });
    }

    fn map(&mut self, table: &[u8; 256]) {
        self.bytes.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    }

    /// Maps the values of each channel by the table that is made of its histogram, if there is one.
    fn map_by_histogram(&mut self, table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
        for channel in 0..self.channels {
            let mut histogram = [0usize; 256];
            let values = self.bytes.iter().skip(channel).step_by(self.channels);
            values.for_each(|value| histogram[usize::from(*value)] += 1);
            let Some(table) = table(&histogram) else { continue };
            let values = self.bytes.iter_mut().skip(channel).step_by(self.channels);
            values.for_each(|value| *value = table[usize::from(*value)]);
        }
    }
}

/// How light a pixel is, by ITU-R 601-2 in Pillow's integers.
fn luminance(pixel: &[u8]) -> u8 {
    match pixel {
        [r, g, b] => {
            let [r, g, b] = [*r, *g, *b].map(u32::from);
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
        }
        _ => pixel[0],
    }
}

/// `from + factor (to − from)`, rounded down, between 0 and 255.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    // A conversion from float to byte saturates.
    (from + factor * (to - from)) as u8
}

//! Who looks at a page: how large their screen is, and whether they like it dark.

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Pixels of a picture to a CSS pixel.
    pub scale: f32,
    /// A touch screen.
    pub mobile: bool,
    /// Dark mode.
    pub dark: bool,
}

impl Look {
    /// A laptop.
    pub const DESKTOP: Self = Self { width: 1_280, height: 800, scale: 1.0, mobile: false, dark: false };
    /// A small phone.
    pub const PHONE: Self = Self { width: 360, height: 740, scale: 1.0, mobile: true, dark: false };

    /// The same in dark mode.
    #[must_use]
    pub fn in_the_dark(self) -> Self {
        Self { dark: true, ..self }
    }

    /// Both screens, in light and dark.
    #[must_use]
    pub fn all() -> [Self; 4] {
        [Self::DESKTOP, Self::DESKTOP.in_the_dark(), Self::PHONE, Self::PHONE.in_the_dark()]
    }
}

/// One of two values: the output of the branch that won.
///
/// The output of [`race_either`](crate::race_either).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Either<L, R> {
    /// The output of the first branch.
    Left(L),
    /// The output of the second branch.
    Right(R),
}

impl<T> Either<T, T> {
    /// Returns the value, whichever branch it comes from.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::Either;
    ///
    /// assert_eq!(Either::<_, u32>::Left(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Either::Left(value) | Either::Right(value) => value,
        }
    }
}

impl<L, R> Either<L, R> {
    /// Returns the value of the first branch, if that one has won.
    pub fn left(self) -> Option<L> {
        match self {
            Either::Left(value) => Some(value),
            Either::Right(_) => None,
        }
    }

    /// Returns the value of the second branch, if that one has won.
    pub fn right(self) -> Option<R> {
        match self {
            Either::Left(_) => None,
            Either::Right(value) => Some(value),
        }
    }
}
